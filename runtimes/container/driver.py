"""The built-in container: namespaces, cgroups and an overlay, made by our own code with nothing between.

One zygote is the parent of all boxes (zygote.py says why), made by `prepare` and ended by `close`; nothing else is kept
from one start to the next. On the host a box is its cgroup, one folder in the scratch space and its processes: mounts
and interfaces live in its own namespaces and vanish with it, so a killed run leaves folders and nothing that runs. A
bridge, where boxes asked for one, is the run's (network.py).
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import marks, oci
from harness.cgroups import Cgroup, leftovers
from harness.contract import Workspace
from harness.errors import TrialFailed
from harness.model import Artifact, Image, Prepared, Role, Spec, Support
from harness.paths import disk_full
from runtimes.bridge import bridges
from runtimes.bridge.network import Network, address_of
from runtimes.container import boxstate, etc, probe, seccomp
from runtimes.container.box import Box
from runtimes.container.instance import ContainerInstance, Streams
from runtimes.container.launcher import Launcher, Process
from runtimes.container.planning import AGENT, Command, controllers, limits, plan


class ContainerRuntime:
    """See harness.contract.Runtime. Starts boxes from one thread: the one that called `prepare` first."""

    name = "container"

    def __init__(self, workspace: Workspace, bridge: str = "") -> None:
        """`bridge`: the mark of one that is shared with others; by default the run has its own."""
        self._workspace = workspace
        self._launcher: Launcher | None = None
        self._network = Network(bridge or workspace.mark, workspace.scratch / "network.log")

    def probe(self) -> Support:
        return probe.probe(self._workspace)

    def prepare(self, image: Image) -> Prepared:
        """The unpacked tree serves as it is, one lower layer for all boxes. Starts the zygote."""
        if not Path(image.root).is_dir():
            raise TrialFailed(f"image {image.name} has no unpacked tree at {image.root}", hint="build the image again")
        self._zygote()
        layers = (
            Artifact(role=Role.LAYER, path=layer.path, compressed=oci.is_compressed(layer.media_type))
            for layer in image.layers
        )
        return Prepared(image=image, artifacts=(Artifact(role=Role.ROOT, path=image.root), *layers))

    @contextmanager
    def start(self, spec: Spec) -> Iterator[ContainerInstance]:
        requested_s = time.monotonic()
        with Streams() as streams, self.execute(spec, AGENT, streams.theirs) as box:
            streams.hand_over()
            yield ContainerInstance(box, streams, requested_s)

    @contextmanager
    def execute(self, spec: Spec, command: Command, streams: Sequence[int]) -> Iterator[Box]:
        """A box with any first program and the caller's own standard streams. Leaving removes every trace."""
        with ExitStack() as undo:
            zygote, folder = self._zygote(), self._workspace.scratch / spec.name
            undo.callback(_remove, folder)
            link = undo.enter_context(self._network.linked(spec.name, spec.network))
            cgroup = Cgroup.create(spec.name, None, controllers(spec))
            undo.callback(cgroup.remove)
            made = plan(spec, cgroup, str(folder), link, command)

            def make_folders() -> None:
                with _room_on(self._workspace.scratch):
                    _make(folder)
                    etc.write(folder / "upper", Path(spec.prepared.image.root), made.name, spec.network, link)

            meanwhile = make_folders, lambda: cgroup.complete(limits(spec))
            process = zygote.launch(made, streams, meanwhile)
            undo.callback(process.close)
            box = Box(cgroup, folder, address_of(spec.network, link), process)
            undo.callback(box.stop)
            yield box

    def join(self, box: Box, spec: Spec, command: Command, streams: Sequence[int]) -> Process:
        """Another program in a box that runs, in all its namespaces and cgroups, as confined as its first one."""
        joining = plan(spec, box.cgroup, str(box.folder), None, command)._replace(join=box.process.pid)
        return self._zygote().launch(joining, streams)

    def close(self) -> None:
        self._network.close()
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None

    def sweep(self, live: Callable[[str], bool]) -> Sequence[str]:
        """Kills and removes the cgroups of dead runs, then their bridges; folders go with the runs' scratch space."""
        swept = [_sweep(cgroup) for name, cgroup in sorted(leftovers(marks.PREFIX).items()) if not live(name)]
        return [*swept, *bridges.sweep(live), *boxstate.sweep()]

    def _zygote(self) -> Launcher:
        """A zygote that was killed from outside is replaced: only the boxes it had are lost."""
        if self._launcher is None or not self._launcher.alive:
            if self._launcher is not None:
                self._launcher.close()
            self._workspace.scratch.mkdir(parents=True, exist_ok=True)
            filter_ = seccomp.filter_bytes(self._workspace.store)
            self._launcher = Launcher(self._workspace.scratch / "zygote.log", filter_)
        return self._launcher


@contextmanager
def _room_on(folder: Path) -> Iterator[None]:
    """Names the disk when there is no room on it."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(folder) from None
        raise


def _make(folder: Path) -> None:
    """What the overlay writes to. The upper layer is the box's own root, so its mode is said: we may have any umask."""
    folder.mkdir(parents=True)
    upper = folder / "upper"
    upper.mkdir()
    upper.chmod(0o755)
    (folder / "work").mkdir()


def _remove(folder: Path) -> None:
    """Empty ones first: that is quick, and needs no descriptor, of which there may be none left."""
    for part in ("work/work", "work", "upper", ""):
        with contextlib.suppress(OSError):
            (folder / part).rmdir()
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _sweep(cgroup: Cgroup) -> str:
    members = len(cgroup.pids())
    try:
        cgroup.remove()
    except TimeoutError as error:
        return f"could not remove: {error}"
    return f"removed cgroup {cgroup.name}" + (f" and killed {members} processes in it" if members else "")
