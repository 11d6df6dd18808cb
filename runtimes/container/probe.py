"""Whether this host can run the built-in container, found out by starting one that has nothing in it.

The canary's root is empty, so a host that can do everything fails exactly at executing the program, with "no such
file"; any earlier failure names the step that this host cannot do. It takes some 100 ms and leaves nothing.
"""

from __future__ import annotations

import errno
import os
import platform
import tempfile
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path

from harness.cgroups import Cgroup, hierarchies
from harness.contract import Workspace
from harness.errors import TareError, Unsupported
from harness.model import Feature, Image, Prepared, Spec, Support
from runtimes.container import seccomp
from runtimes.container.instance import Streams
from runtimes.container.launcher import Launcher, StepFailed
from runtimes.container.planning import limits, plan

_MEMORY_BYTES = 64 << 20


def probe(workspace: Workspace) -> Support:
    """Asks for the cheap things first; the canary has the last word."""
    try:
        _require_root()
        _require_controllers()
        _start_canary(workspace)
    except TareError as error:
        return Support(available=False, reason=error.message, hint=error.hint, facts=_facts())
    except OSError as error:
        hint = "cgroups and the scratch folder must be writable: run on the host, not in a container of another engine"
        return Support(available=False, reason=f"{error.filename}: {error.strerror}", hint=hint, facts=_facts())
    features = (Feature.EXEC, Feature.LIMITS, Feature.NETWORK, Feature.PAUSE)
    return Support(available=True, version=metadata.version("tare-bench"), features=features, facts=_facts())


def _require_root() -> None:
    if os.geteuid() != 0:
        raise Unsupported("namespaces and cgroups are made as root", hint="run tare as root: sudo tare …")


def _require_controllers() -> None:
    host = hierarchies()
    if not host.missing:
        return
    names = ", ".join(host.missing)
    switches = " ".join(f"+{name}" for name in host.missing)
    hint = "boot with cgroup_enable=memory, or mount the controllers' hierarchies"
    if host.mode == "v2":
        hint = f"hand them down: echo '{switches}' > {host.parents['unified']}/cgroup.subtree_control"
    raise Unsupported(f"this host's cgroups do not limit {names}", hint=hint)


def _start_canary(workspace: Workspace) -> None:
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="probe-", dir=workspace.scratch)))
        for name in ("upper", "work", "empty"):
            (folder / name).mkdir()
        launcher = undo.enter_context(closing(Launcher(folder / "zygote.log", seccomp.filter_bytes(workspace.store))))
        spec = _canary(f"{workspace.mark}-probe", folder / "empty")
        cgroup = Cgroup.create(spec.name, limits(spec))
        undo.callback(cgroup.remove)
        streams = undo.enter_context(Streams())
        try:
            launcher.launch(plan(spec, cgroup, str(folder)), streams.theirs)
        except StepFailed as error:
            if not error.failure.step.startswith("execute") or error.failure.errno != errno.ENOENT:
                raise


def _canary(name: str, root: Path) -> Spec:
    image = Image(name="nothing", digest="", content_digest="", content_bytes=0, layers=(), root=str(root))
    return Spec(name=name, prepared=Prepared(image=image, artifacts=()), cpus=1.0, memory_bytes=_MEMORY_BYTES, pids=16)


def _facts() -> dict[str, str]:
    host = hierarchies()
    v1 = sorted(set(host.parents) - {"unified"})
    return {
        "kernel": platform.release(),
        "cgroup mode": host.mode,
        "cgroup v1": " ".join(v1),
        "cgroup v2": " ".join(sorted(host.v2_controllers)),
    }
