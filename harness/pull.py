"""Fetching an image from a registry, through skopeo: what it brings is then imported like anything from elsewhere.

skopeo has the protocols, the credentials and the policy of this host. Certificates are checked except on loopback,
where a registry rarely has one and nobody is in between.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import images, imports, paths, proc
from harness.errors import UsageError
from harness.packed import Limits

_REFERENCE = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]{0,500}")
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?/")
_SAID = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_TIMEOUT_S = 3600.0
_LANDING = ".pull-"
_REMEDIES = (
    (r"manifest unknown|name unknown|not found|repository name not known", "check the name and the tag"),
    (r"unauthorized|authentication required|denied", "log in first: skopeo login HOST"),
    (r"no such host|connection refused|timeout|network is unreachable", "is the registry up, and its name right?"),
    (r"HTTP response to HTTPS client|certificate", "the registry needs a certificate this host trusts"),
    (r"no space left", "free some space, or point TARE_HOME at another disk"),
    (r"no image found in manifest list|no image found in image index", "there is no image for this machine"),
)


def pull(home: Path, reference: str, name: str = "", limits: Limits | None = None) -> imports.Imported:
    """The image of that reference (HOST/NAME:TAG), in the store."""
    if not _REFERENCE.fullmatch(reference) or "//" in reference:
        raise UsageError(
            f"{reference!r} is not a reference to an image", hint="as in HOST/NAME:TAG or HOST/NAME@DIGEST"
        )
    name = imports.checked_name(name or imports.default_name(reference.partition("@")[0]))
    with _landing(home) as folder:
        target = folder / "image"
        _copy(reference, target)
        return imports.import_image(home, str(target), name, shown=reference, limits=limits)


@contextmanager
def _landing(home: Path) -> Iterator[Path]:
    """A folder for what comes, gone afterwards. Those of pulls that were killed go too: nobody holds their lock."""
    with ExitStack() as stack:
        with images.changing(home):
            for left in home.glob(f"{_LANDING}*"):
                with paths.locked(left / "lock", wait=False) as abandoned:
                    if abandoned:
                        shutil.rmtree(left)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_LANDING, dir=home)))
            stack.enter_context(paths.locked(folder / "lock"))
        yield folder


def command(reference: str, target: Path) -> list[str]:
    """skopeo's words. The target's name holds no colon, which would end it."""
    loopback = ["--src-tls-verify=false"] if _LOOPBACK.match(reference) else []
    return ["skopeo", "copy", "--quiet", *loopback, f"docker://{reference}", f"oci:{target}"]


def _copy(reference: str, target: Path) -> None:
    try:
        proc.run(command(reference, target), timeout_s=_TIMEOUT_S, hint="apt-get install skopeo")
    except proc.CommandFailed as error:
        said = _SAID.findall(error.message)
        reason = (said[-1] if said else error.message).replace('\\"', '"').replace(str(target), "the store")
        hint = next((remedy for sign, remedy in _REMEDIES if re.search(sign, reason)), "")
        raise UsageError(f"cannot pull {reference}: {reason}", hint=hint) from None
