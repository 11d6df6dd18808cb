"""What does an image weigh on disk, and what does one more instance add?

All but `disk.marginal` are properties of the prepared image and the same in every trial. A box that brings a kernel
of its own pays for it here; one that borrows the host's does not, and that is said rather than evened out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.contract import Absent, Bench, Finding, Scenario
from harness.model import Artifact, Better, Kind, Metric, Role, Sample, Unit
from scenarios import gauges

FLOOR_BYTES = 64 << 10


def measure(bench: Bench) -> Iterator[Finding]:
    with bench.start() as instance:
        instance.wait_ready(bench.ready_timeout_s)
        marginal = sum(gauges.allocated_bytes(path) for path in instance.disk_paths)
    artifacts = bench.spec.prepared.artifacts
    yield Sample("disk.content", bench.spec.prepared.image.content_bytes)
    started = [one for one in artifacts if one.role is not Role.LAYER]
    yield Sample("disk.virtual", sum(map(_virtual_bytes, started)))
    yield Sample("disk.apparent", sum(gauges.apparent_bytes(Path(one.path)) for one in started))
    yield Sample("disk.allocated", sum(gauges.allocated_bytes(Path(one.path)) for one in started))
    yield Sample("disk.transfer", sum(_transfer_bytes(one) for one in _shipped(artifacts)))
    for role in (Role.KERNEL, Role.INITRD):
        own = [one for one in artifacts if one.role is role]
        if own:
            yield Sample(f"disk.transfer.{role}", sum(map(_transfer_bytes, own)))
        else:
            yield Absent(f"disk.transfer.{role}", f"this kind of box ships no {role} beside its root")
    yield Sample("disk.marginal", marginal)


def _shipped(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """What travels: layers where there are any (the tree is unpacked from them), else the root itself."""
    layered = any(one.role is Role.LAYER for one in artifacts)
    return [one for one in artifacts if not (layered and one.role is Role.ROOT)]


def _virtual_bytes(artifact: Artifact) -> int:
    return artifact.virtual_bytes or gauges.apparent_bytes(Path(artifact.path))


def _transfer_bytes(artifact: Artifact) -> int:
    path = Path(artifact.path)
    return path.stat().st_size if artifact.compressed else gauges.compressed_bytes(path)


def _metric(name: str, meaning: str, kind: Kind = Kind.EXACT) -> Metric:
    return Metric(name=name, unit=Unit.BYTES, better=Better.LOWER, kind=kind, meaning=meaning, floor=FLOOR_BYTES)


disk = Scenario(
    name="disk",
    asks="What does an image weigh on disk, and what does one more instance add?",
    metrics=(
        _metric("disk.content", "bytes of all regular files of the image: the same for every runtime"),
        _metric(
            "disk.transfer",
            "bytes to ship it, compressed (layers as stored, the rest with zlib level 6), kernel and initrd included",
        ),
        _metric("disk.transfer.kernel", "the part of disk.transfer that is the kernel"),
        _metric("disk.transfer.initrd", "the part of disk.transfer that is the initrd"),
        _metric("disk.virtual", "what root, kernel and initrd claim to be"),
        _metric("disk.apparent", "the lengths of the files that are root, kernel and initrd, holes included"),
        _metric("disk.allocated", "what root, kernel and initrd occupy on this host's disk (st_blocks)"),
        _metric(
            "disk.marginal", "what one more ready instance occupies beside the shared files (st_blocks)", Kind.SAMPLED
        ),
    ),
    measure=measure,
)
