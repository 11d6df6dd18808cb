"""The runtimes of one run, opened: probed, prepared, and shown to run the same bytes. None of it is timed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness import log, registry, rerun
from harness.contract import Instance, Optioned, Runtime, Scenario, Workspace
from harness.errors import TareError, TrialFailed, Unsupported, UsageError
from harness.model import Config, Feature, Image, Prepared, Spec, Support

_CHECK_TIMEOUT_S = 600.0
_CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_LOG_TAIL = 1500
# By the agent's own program: not every image has one, and not every one knows -s.
_CHECK_SCRIPT = (
    'cd "$TARE_ROOT/" && .tare/busybox sha256sum -s -c .tare/manifest && .tare/busybox sha256sum <.tare/manifest'
)

NO_NETWORK, A_NETWORK = "none", "bridge"


def network_of(scenario: Scenario) -> str:
    """What a box needs to be measured by that scenario."""
    return A_NETWORK if Feature.NETWORK in scenario.needs else NO_NETWORK


@dataclass
class Session:
    """What a run measures with. `supports` says why a runtime is not among `runtimes`."""

    config: Config
    supports: dict[str, Support]
    runtimes: dict[str, Runtime] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)
    digests_inside: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """Runtimes whose probe promised what their preparation could not keep."""
    names: Iterator[str] = field(default_factory=lambda: iter(()))

    def spec(self, runtime: str, network: str = NO_NETWORK, name: str = "") -> Spec:
        """A box of the run's image with the run's limits."""
        return Spec(
            name=name,
            prepared=self.prepared[runtime],
            cpuset=self.config.cpuset,
            memory_bytes=rerun.side_of(self.config, runtime).memory_bytes,
            network=network,
        )

    def start(self, runtime: str, network: str = NO_NETWORK) -> AbstractContextManager[Instance]:
        """Requests a new box under a name of its own."""
        return self.runtimes[runtime].start(self.spec(runtime, network, next(self.names)))


def wanted(config: Config) -> list[str]:
    """Every runtime a request names, alternatives included, once."""
    return list(dict.fromkeys(name for entry in config.runtimes for name in entry.split("|")))


def probe(names: list[str], workspace: Callable[[str], Workspace]) -> tuple[dict[str, Runtime], dict[str, Support]]:
    """Loads and probes runtimes. One that cannot even be loaded is unavailable, with that reason."""
    runtimes: dict[str, Runtime] = {}
    supports: dict[str, Support] = {}
    for name in names:
        try:
            twin = rerun.bare(name)
            if twin != name and twin in runtimes and workspace(twin).options == workspace(name).options:
                # One object serves both sides: some may exist only once in a process, as libvirt's embedded driver.
                runtimes[name], supports[name] = runtimes[twin], supports[twin]
                continue
            runtimes[name] = registry.runtime(twin, workspace(name))
            _check_options(name, runtimes[name], workspace(name).options)
            supports[name] = runtimes[name].probe()
        except (ImportError, AttributeError, Unsupported) as error:
            supports[name] = Support(available=False, reason=str(error), hint=getattr(error, "hint", ""))
    return runtimes, supports


def _check_options(name: str, runtime: Runtime, given: Mapping[str, str]) -> None:
    """UsageError for an option the runtime does not have: a slip would else be measured without a word."""
    known = runtime.options if isinstance(runtime, Optioned) else {}
    for option in sorted(set(given) - set(known)):
        there = ", ".join(f"{name}.{one} ({meaning})" for one, meaning in known.items())
        raise UsageError(f"{name} has no option {option!r}", hint=f"it has {there or 'none'}")


def workspaces(home: Path, scratch: Path, mark: str, options: Mapping[str, str]) -> Callable[[str], Workspace]:
    """Runtime name → its workspace: a store of its own, and those options that are addressed to it."""

    def workspace(name: str) -> Workspace:
        own = {key.partition(".")[2]: value for key, value in options.items() if key.partition(".")[0] == name}
        return Workspace(store=home, scratch=scratch / rerun.bare(name), mark=mark, options=own)

    return workspace


@contextmanager
def opened(
    config: Config, image: Callable[[str], Image], workspace: Callable[[str], Workspace], mark: str
) -> Iterator[Session]:
    """Probes and prepares what the request names; everything is closed again when the block ends.

    `image` says what a runtime boxes: its old side may be given another one.
    """
    runtimes, supports = probe(wanted(config), workspace)
    session = Session(config, supports, names=(f"{mark}-{number}" for number in itertools.count(1)))
    with ExitStack() as stack:
        for entry in config.runtimes:
            # The next alternative is tried when one that promised to work cannot be prepared; its reason is kept.
            for name in entry.split("|"):
                if not supports[name].available:
                    continue
                stack.callback(runtimes[name].close)
                workspace(name).scratch.mkdir(parents=True, exist_ok=True)
                if _prepare(session, name, runtimes[name], image(name)):
                    break
        yield session


def _prepare(session: Session, name: str, runtime: Runtime, image: Image) -> bool:
    """Whether the runtime is ready to measure; if not, its support says why. Wrong bytes end the run."""
    log.say(f"preparing {name}")
    try:
        session.prepared[name] = runtime.prepare(image)
        session.runtimes[name] = runtime
        _check_contents(session, name, image)
        _warm_network(session, name)
    except (Unsupported, TrialFailed) as error:
        log.warn(f"{name} cannot be prepared: {error}{f' ({error.hint})' if error.hint else ''}")
        if isinstance(error, TrialFailed) and error.log:
            log.say(error.log[-_LOG_TAIL:].rstrip())
        session.lost.append(name)
        session.supports[name] = msgspec.structs.replace(
            session.supports[name], available=False, reason=str(error), hint=error.hint
        )
    return session.supports[name].available


def _warm_network(session: Session, name: str) -> None:
    """Starts one box with a network, if any scenario will: the first one sets up what the others share.

    A host that cannot do it costs the runtime that feature and nothing else.
    """
    support = session.supports[name]
    needed = any(network_of(registry.scenario(one)) == A_NETWORK for one in session.config.scenarios)
    if not needed or Feature.NETWORK not in support.features:
        return
    try:
        with session.start(name, A_NETWORK) as instance:
            instance.wait_ready(session.config.trial_timeout_s)
    except (Unsupported, TrialFailed) as error:
        log.warn(f"{name} has no network here: {error}{f' ({error.hint})' if error.hint else ''}")
        features = tuple(feature for feature in support.features if feature is not Feature.NETWORK)
        session.supports[name] = msgspec.structs.replace(support, features=features)


def _check_contents(session: Session, name: str, image: Image) -> None:
    """Starts one box, which also warms what a first start warms, and asks from inside which bytes it holds."""
    with session.start(name) as instance:
        instance.wait_ready(session.config.trial_timeout_s)
        done = instance.run(["sh", "-c", _CHECK_SCRIPT], _CHECK_TIMEOUT_S)
        digest = f"sha256:{done.stdout.decode(errors='replace').split(' ')[0]}"
        if done.exit_code != 0 or digest != image.content_digest:
            raise TareError(
                f"{name} does not hold the image's bytes (inside {digest[:19]}, image {image.content_digest[:19]})",
                hint="remove the cached copy of this image from TARE_HOME and prepare it again",
            )
        session.digests_inside[name] = digest
        source = instance.run(["cat", _CLOCK_SOURCE], _CHECK_TIMEOUT_S).stdout.decode(errors="replace")
        session.documents[name] = {**instance.documents(), "clock source inside": source or "not told\n"}
