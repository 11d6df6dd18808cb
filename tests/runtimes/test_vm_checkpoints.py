"""The file libvirt saves a state in, given to another box, and what goes wrong with checkpoints."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness import agent
from harness.errors import TrialFailed, UsageError
from harness.model import Image
from runtimes.vm import checkpoints

HEAD = struct.Struct("=16s5I56x")
STREAM = b"QEVM and what follows"
DISK = Path("/store/disk.ext4")


def state(folder: Path, *, version: int = 2, xml: bytes = b"<domain/>", cookie: bytes = b"<cookie/>") -> Path:
    body = xml + b"\0" + (cookie + b"\0" if cookie else b"")
    length = len(body) + 64
    head = HEAD.pack(b"LibvirtQemudSave", version, length, 1, 0, len(xml) + 1 if cookie else 0)
    path = folder / checkpoints.STATE
    path.write_bytes(head + body.ljust(length, b"\0") + STREAM)
    return path


@pytest.mark.parametrize("cookie", [b"<cookie/>", b""], ids=["cookie", "no cookie"])
def test_a_state_is_given_to_another_box(tmp_path: Path, cookie: bytes) -> None:
    path = state(tmp_path, cookie=cookie)
    before = path.stat().st_size
    for xml in ("<domain><name>a longer one</name></domain>", "<domain/>"):
        checkpoints.rename(path, xml)
        data = path.read_bytes()
        magic, version, length, running, compressed, cookie_at = HEAD.unpack_from(data)
        text, _, rest = data[HEAD.size : HEAD.size + length].partition(b"\0")
        assert text.decode() == xml
        assert rest.rstrip(b"\0") == cookie
        assert cookie_at == (len(xml) + 1 if cookie else 0)
        assert (magic, version, running, compressed) == (b"LibvirtQemudSave", 2, 1, 0)
        assert data.endswith(STREAM) and len(data) == before


def test_a_description_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = state(tmp_path)
    before = path.read_bytes()
    with pytest.raises(TrialFailed, match="no room"):
        checkpoints.rename(path, "x" * 200)
    assert path.read_bytes() == before


def test_another_form_of_state_is_not_touched(tmp_path: Path) -> None:
    path = state(tmp_path, version=3)
    before = path.read_bytes()
    with pytest.raises(TrialFailed, match="not a state"):
        checkpoints.rename(path, "<domain/>")
    assert path.read_bytes() == before


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """One with today's agent."""
    (tmp_path / "root" / ".tare").mkdir(parents=True)
    (tmp_path / "root" / ".tare" / "agent").write_text(agent.script())
    root = str(tmp_path / "root")
    return Image(name="some", digest="sha256:1", content_digest="", content_bytes=0, layers=(), root=root)


def test_an_agent_that_would_not_answer_is_said_before(tmp_path: Path, image: Image) -> None:
    Path(image.root, ".tare", "agent").write_text("printf 'R\n'\n")
    with pytest.raises(UsageError, match="too old"):
        checkpoints.check(tmp_path, image, DISK)


def test_a_checkpoint_that_was_not_finished_is_none(tmp_path: Path, image: Image) -> None:
    state(tmp_path)
    with pytest.raises(UsageError, match="no finished checkpoint"):
        checkpoints.check(tmp_path, image, DISK)
    overlay = tmp_path / "overlay"
    overlay.write_bytes(b"written")
    checkpoints.complete(tmp_path, overlay, DISK)
    assert checkpoints.check(tmp_path, image, DISK) == tmp_path / checkpoints.STATE
    checkpoints.bring_disk(tmp_path, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"written"
    with pytest.raises(UsageError, match=r"lay on the disk /store/disk.ext4, not on /other"):
        checkpoints.check(tmp_path, image, Path("/other"))
