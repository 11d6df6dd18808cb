"""The filter of a box's system calls, from names to the bytes the kernel loads: made once, in the harness, and kept.

The filter lets pass what allowed.py names and answers "not permitted" to everything else it could have named. It has
two parts. libseccomp makes the last one, for this machine's own architecture, with the calls whose arguments matter; a
program for another one (32-bit, say) is killed at its first call. In front of it stand instructions of our own, for
what libseccomp cannot say:
  * what is allowed or not whatever its arguments are is found by halving a list of ranges of numbers. libseccomp's tree
    gives the same answers, but is longer and takes more steps, and when a filter is loaded the kernel translates all of
    it and tries every number there is: a tenth of a millisecond of every start;
  * a number beyond all that the list knows is answered "no such call", which every program that tries something new is
    prepared for (x32 calls have such numbers too);
  * `ioctl` must not push characters into a terminal or drive a console. The kernel looks at the lower half of the
    request only, so the filter must not look at more: a comparison of all 64 bits is passed by setting a higher one.

libseccomp is called through ctypes: it is seven functions, and the packaged bindings run a compiler to find it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from ctypes import c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from pathlib import Path

from harness import paths
from harness.errors import Unsupported
from runtimes.container import allowed

_LIBRARY = "libseccomp.so.2"
_ALLOW = 0x7FFF_0000
_KILL_PROCESS = 0x8000_0000
_ERRNO = 0x0005_0000
_ATTRIBUTE_BADARCH = 2
_ATTRIBUTE_OPTIMIZE = 8
_BINARY_TREE = 2
_EQUAL = 4
_MASKED_EQUAL = 7
_TIOCSTI = 0x5412
_TIOCLINUX = 0x541C

# Classic BPF: code, jump if true, jump if false, operand. The data are struct seccomp_data: number, architecture, …
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _JUMP, _IF_EQUAL, _IF_GREATER, _IF_AT_LEAST, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_LONGEST_SKIP = 256
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_SECOND_ARGUMENT_AT = 24 if sys.byteorder == "little" else 28  # its lower half

_Instruction = tuple[int, int, int, int]
_Answer = tuple[_Instruction, ...]
"""What is done when the number is known."""

_REFUSED: _Answer = ((_RETURN, 0, 0, _ERRNO | errno.EPERM),)
_TREE: _Answer = ((_JUMP, 0, 0, 0xFFFF_FFFF),)
"""To the tree, however far that is."""

_IOCTL: _Answer = (
    (_LOAD, 0, 0, _SECOND_ARGUMENT_AT),
    (_IF_EQUAL, 2, 0, _TIOCSTI),
    (_IF_EQUAL, 1, 0, _TIOCLINUX),
    (_RETURN, 0, 0, _ALLOW),
    (_RETURN, 0, 0, _ERRNO | errno.EPERM),
)


class _Comparison(ctypes.Structure):
    """`scmp_arg_cmp`: an argument, how it is compared, with what (a mask first, if there is one)."""

    _fields_ = (("argument", c_uint), ("operator", c_int), ("first", c_uint64), ("second", c_uint64))


class _Version(ctypes.Structure):
    _fields_ = (("major", c_uint), ("minor", c_uint), ("micro", c_uint))


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise Unsupported(f"{_LIBRARY} is not installed", hint="install it: apt-get install libseccomp2") from None
    for name, result, arguments in (
        ("seccomp_version", ctypes.POINTER(_Version), ()),
        ("seccomp_arch_native", c_uint32, ()),
        ("seccomp_syscall_resolve_name", c_int, (c_char_p,)),
        ("seccomp_init", c_void_p, (c_uint32,)),
        ("seccomp_release", None, (c_void_p,)),
        ("seccomp_attr_set", c_int, (c_void_p, c_int, c_uint32)),
        ("seccomp_rule_add_array", c_int, (c_void_p, c_uint32, c_int, c_uint, c_void_p)),
        ("seccomp_export_bpf", c_int, (c_void_p, c_int)),
    ):
        function = library[name]
        function.restype, function.argtypes = result, arguments
        setattr(library, name, function)
    return library


def filter_bytes(store: Path) -> bytes:
    """The default filter, compiled the first time and after every change of the list, the library or the machine."""
    library = _library()
    cached = store / "seccomp" / f"{_identity(library)}.bpf"
    try:
        return cached.read_bytes()
    except FileNotFoundError:
        compiled = _compile(library)
    cached.parent.mkdir(parents=True, exist_ok=True)
    paths.write_atomically(cached, compiled)
    return compiled


def _identity(library: ctypes.CDLL) -> str:
    """Everything the bytes depend on: these two sources, the library's version, the architecture."""
    version = library.seccomp_version().contents
    told = (version.major, version.minor, version.micro, library.seccomp_arch_native())
    sources = Path(allowed.__file__).read_bytes() + Path(__file__).read_bytes()
    return hashlib.sha256(repr(told).encode() + sources).hexdigest()


def _compile(library: ctypes.CDLL) -> bytes:
    context = library.seccomp_init(_ERRNO | errno.EPERM)
    try:
        _checked(library.seccomp_attr_set(context, _ATTRIBUTE_BADARCH, _KILL_PROCESS))
        _checked(library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE))
        answers = _add_rules(library, context)
        with tempfile.TemporaryFile() as file:
            _checked(library.seccomp_export_bpf(context, file.fileno()))
            file.seek(0)
            tree = file.read()
    finally:
        library.seccomp_release(context)
    answers[library.seccomp_syscall_resolve_name(b"ioctl")] = _IOCTL
    return _front(library.seccomp_arch_native(), answers) + tree


def _add_rules(library: ctypes.CDLL, context: int) -> dict[int, _Answer]:
    """Puts what depends on arguments into libseccomp's words; returns how every number it knew is answered."""
    answers: dict[int, _Answer] = {}

    def add(action: int, name: str, *comparisons: _Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # negative: not on this architecture, or younger than the library
            answers[number] = _TREE if comparisons else ((_RETURN, 0, 0, action),)
            if comparisons:
                array = (_Comparison * len(comparisons))(*comparisons)
                _checked(library.seccomp_rule_add_array(context, action, number, len(comparisons), array))

    for name in allowed.FREELY:
        add(_ALLOW, name)
    for name in allowed.UNHEARD_OF:
        add(_ERRNO | errno.ENOSYS, name)
    for family in allowed.SOCKET_FAMILIES:
        add(_ALLOW, "socket", _Comparison(0, _EQUAL, family, 0))
    for personality in allowed.PERSONALITIES:
        add(_ALLOW, "personality", _Comparison(0, _EQUAL, personality, 0))
    flags_at = 1 if os.uname().machine == "s390x" else 0  # which has them in the other order
    add(_ALLOW, "clone", _Comparison(flags_at, _MASKED_EQUAL, allowed.NAMESPACE_FLAGS, 0))
    return answers


def _front(architecture: int, answers: Mapping[int, _Answer]) -> bytes:
    """What is decided before libseccomp's tree, which begins right after the last instruction here."""
    last = max(answers)
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, architecture),
        _TREE[0],  # another one: to the tree, which kills
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_GREATER, 0, 1, last),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    code += _search(_ranges([answers.get(number, _REFUSED) for number in range(last + 1)]))
    for at, instruction in enumerate(code):
        if instruction == _TREE[0]:
            code[at] = (_JUMP, 0, 0, len(code) - at - 1)
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


def _ranges(answers: Sequence[_Answer]) -> list[tuple[int, _Answer]]:
    """The first number of each run of equal answers."""
    return [(at, answer) for at, answer in enumerate(answers) if not at or answers[at - 1] != answer]


def _search(ranges: Sequence[tuple[int, _Answer]]) -> list[_Instruction]:
    """From the number to its range's answer."""
    if len(ranges) == 1:
        return list(ranges[0][1])
    half = len(ranges) // 2
    below, above = _search(ranges[:half]), _search(ranges[half:])
    if len(below) < _LONGEST_SKIP:
        return [(_IF_AT_LEAST, len(below), 0, ranges[half][0]), *below, *above]
    return [(_IF_AT_LEAST, 0, 1, ranges[half][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _checked(status: int) -> None:
    if status < 0:
        raise Unsupported(f"libseccomp refused the filter: {os.strerror(-status)}", hint="use libseccomp 2.5 or newer")
