"""Opening a run's runtimes: alternatives are tried in order, every refusal is kept, wrong bytes end the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import plan, registry, session
from harness.contract import Completed, Runtime, Workspace
from harness.errors import TareError, Unsupported
from harness.model import Image, Prepared
from tests import fakes


class Refusing(fakes.FakeRuntime):
    """Its probe says yes, its preparation no."""

    def prepare(self, image: Image) -> Prepared:
        raise Unsupported("nothing boots here", hint="use another host")


class Answering(fakes.FakeRuntime):
    """Answers every command with the digest it was given."""

    digest = fakes.IMAGE.content_digest

    def prepare(self, image: Image) -> Prepared:
        digest = self.digest

        class Instance(fakes.FakeInstance):
            def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
                return Completed(0, digest.removeprefix("sha256:").encode() + b"  -\n", b"")

        self.instance_type = Instance
        return super().prepare(image)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., session.Session]:
    """Opens a session over fake runtimes, given by name."""

    def open_(runtimes: dict[str, fakes.FakeRuntime], wanted: tuple[str, ...]) -> session.Session:
        def load(name: str, workspace: Workspace) -> Runtime:
            return runtimes[name]

        monkeypatch.setattr(registry, "runtime", load)
        workspace = session.workspaces(tmp_path, tmp_path / "scratch", "tare-t", {})
        with session.opened(fakes.config(runtimes=wanted), lambda _: fakes.IMAGE, workspace, "tare-t") as result:
            return result

    return open_


def test_the_next_alternative_is_prepared_when_the_first_cannot_be(opened: Callable[..., session.Session]) -> None:
    result = opened({"first": Refusing("first"), "second": Answering("second")}, ("first|second",))
    assert list(result.runtimes) == ["second"]
    assert plan.choose_runtimes(("first|second",), result.supports) == {"first": "nothing boots here", "second": ""}


def test_only_the_first_that_works_is_prepared(opened: Callable[..., session.Session]) -> None:
    second = Answering("second")
    result = opened({"first": Answering("first"), "second": second}, ("first|second",))
    assert list(result.runtimes) == ["first"]
    assert second.instances == []


def test_the_digest_inside_is_kept(opened: Callable[..., session.Session]) -> None:
    result = opened({"first": Answering("first")}, ("first",))
    assert result.digests_inside == {"first": fakes.IMAGE.content_digest}


def test_a_box_with_other_bytes_ends_the_run(opened: Callable[..., session.Session]) -> None:
    wrong = Answering("first")
    wrong.digest = "sha256:something-else"
    with pytest.raises(TareError, match="does not hold the image's bytes"):
        opened({"first": wrong}, ("first",))
