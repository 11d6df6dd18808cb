"""The words of `tare compare` → two sides, limits and a ruling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import gate, paths, registry, store
from harness.errors import UsageError
from harness.gate import Question, Ruling, Side

FORMS = ("text", "markdown", "json")


@dataclass(frozen=True, slots=True)
class Said:
    old: str
    new: str
    run: str
    limits: Sequence[str]
    strict: bool
    force: bool
    form: str


def compare(said: Said) -> Ruling:
    """UsageError for words that mean nothing; what cannot be compared is a ruling of its own."""
    limits = [gate.limit(text) for text in said.limits]
    if said.form not in FORMS:
        raise registry.unknown("form", said.form, list(FORMS))
    home = paths.home()
    old, new = (_side(home, word, said.run) for word in (said.old, said.new))
    if old.label == new.label:
        raise UsageError(f"both sides are {old.label}", hint="a twin shows what a thing differs from itself by")
    if bool(old.runtime) != bool(new.runtime):
        raise UsageError("one side is a run and the other a runtime of one", hint="compare two of a kind")
    return rule(Question(old=old, new=new, limits=limits, strict=said.strict, force=said.force, form=said.form))


def rule(question: Question) -> Ruling:
    """Asks whoever is registered to compare."""
    comparer = registry.comparer()
    return comparer.compare(question)


def _side(home: Path, word: str, run: str) -> Side:
    """`RUN`, `RUN:RUNTIME`, or a runtime of the run that was named apart."""
    if word in _runtimes_of(home, run):
        return Side(store.read(store.locate(home, run)), word)
    name, colon, runtime = word.partition(":")
    results = store.read(store.locate(home, name))
    if colon and runtime not in (*results.run.supports, gate.OLD_HALF, gate.NEW_HALF):
        raise registry.unknown(f"runtime of {results.run.id}", runtime, sorted(results.run.supports))
    return Side(results, runtime)


def _runtimes_of(home: Path, run: str) -> list[str]:
    try:
        return list(store.read_run(store.locate(home, run)).supports)
    except UsageError:  # no such run: then the words must be runs themselves
        return []
