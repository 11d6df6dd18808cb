"""Settings of a host that make numbers noisy, and the script that changes them and changes them back.

The script is printed and never run: it is for people to read. What it restores is what was *found* on this host, value
by value, and not what somebody takes for the default.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: the fact that reads it, its files, the values that are bad, and the one to measure with."""

    fact: str
    files: str
    bad: tuple[str, ...]
    good: str
    what: str
    effect: str
    touches: str

    @property
    def command(self) -> str:
        if "*" in self.files:
            return f"for f in {self.files}; do echo {self.good} > $f; done"
        return f"echo {self.good} > {self.files}"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "governor", "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        ("powersave", "ondemand", "conservative", "schedutil", "userspace"), "performance",
        "CPU governor is {}", "clock speed follows the load, so short work looks slow", "boot.*, cpu.*",
    ),
    Setting(
        "no_turbo", "/sys/devices/system/cpu/intel_pstate/no_turbo", ("0",), "1",
        "turbo is on", "speed depends on temperature and on the other cores", "boot.*, cpu.*",
    ),
    Setting(
        "boost", "/sys/devices/system/cpu/cpufreq/boost", ("1",), "0",
        "boost is on", "speed depends on temperature and on the other cores", "boot.*, cpu.*",
    ),
    Setting(
        "smt", "/sys/devices/system/cpu/smt/control", ("1",), "off",
        "two threads share each core (SMT)", "work on the sibling slows the box down", "cpu.*",
    ),
    Setting(
        "aslr", "/proc/sys/kernel/randomize_va_space", ("0", "1"), "2",
        "addresses are not fully random (ASLR is {})", "one memory layout is measured again and again, with its luck",
        "boot.*, cpu.*",
    ),
    Setting(
        "thp", "/sys/kernel/mm/transparent_hugepage/enabled", ("always",), "madvise",
        "transparent huge pages are always on", "small boxes hold memory they did not ask for", "memory.*",
    ),
    Setting(
        "ksm", "/sys/kernel/mm/ksm/run", ("1",), "0",
        "KSM merges equal pages", "memory of virtual machines shrinks while one looks", "memory.*",
    ),
    Setting(
        "rcu_expedited", "/sys/kernel/rcu_expedited", ("1",), "0",
        "RCU grace periods are expedited", "namespaces and cgroups are made several times faster than usual", "boot.*",
    ),
    Setting(
        "vfs_cache_pressure", "/proc/sys/vm/vfs_cache_pressure", ("0", "200", "500", "1000"), "100",
        "the kernel's cache of names is kept with pressure {}", "warm starts are not as warm as elsewhere", "boot.*",
    ),
    Setting(
        "swappiness", "/proc/sys/vm/swappiness", ("100", "150", "200"), "10",
        "swappiness is {}", "idle memory leaves early, and is missing from every sum", "memory.*",
    ),
)  # fmt: skip


def changes(settings: Sequence[Setting] = SETTINGS) -> Iterator[tuple[Path, str, str]]:
    """File, what it holds now, what to measure with: for every file whose value is a bad one and can be read."""
    for setting in settings:
        for path in sorted(Path("/").glob(setting.files.removeprefix("/"))):
            try:
                now = chosen(path.read_text().strip())
            except OSError:
                continue
            bad = ("on", *setting.bad) if setting.fact == "smt" else setting.bad
            if now in bad:
                yield path, now, setting.good


def script(found: Sequence[tuple[Path, str, str]]) -> str:
    """A shell script of two words, `tune` and `restore`, with what was found on this host written into it."""
    lines = [
        "#!/bin/sh",
        "# Printed by `tare check --tune`; read it before you run it as root.",
        "#   sh tune.sh tune       what the measurement wants",
        "#   sh tune.sh restore    what was found on this host when this was printed",
        "set -eu",
        "set_to() { # VALUE FILE",
        '\techo "$1" >"$2" && echo "$2: $1"',
        "}",
        "case ${1:-} in",
        "tune)",
        *(f"\tset_to {shlex.quote(good)} {shlex.quote(str(path))}" for path, _, good in found),
        "\t:",
        "\t;;",
        "restore)",
        *(f"\tset_to {shlex.quote(now)} {shlex.quote(str(path))}" for path, now, _ in reversed(found)),
        "\t:",
        "\t;;",
        "*)",
        '\techo "usage: sh $0 tune | restore" >&2',
        "\texit 2",
        "\t;;",
        "esac",
    ]
    return "\n".join(lines)


def chosen(text: str) -> str:
    """`always [madvise] never` → `madvise`."""
    return text.partition("[")[2].partition("]")[0] if "[" in text else text
