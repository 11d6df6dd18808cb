"""The filter of system calls answers every number as the list says, tried in an interpreter of its instructions."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from runtimes.container import allowed, seccomp

ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
REFUSED, UNKNOWN = 0x0005_0000 | errno.EPERM, 0x0005_0000 | errno.ENOSYS
INSTRUCTION = struct.Struct("=HBBI")
JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda value, operand: value == operand,
    0x25: lambda value, operand: value > operand,
    0x35: lambda value, operand: value >= operand,
    0x45: lambda value, operand: bool(value & operand),
}
LIBRARY = seccomp._library()
NATIVE = LIBRARY.seccomp_arch_native()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, int, int, int]]:
    return list(INSTRUCTION.iter_unpack(seccomp.filter_bytes(tmp_path_factory.mktemp("store"))))


def answer(program: list[tuple[int, int, int, int]], number: int, *arguments: int, arch: int = NATIVE) -> int:
    """What the kernel would do: classic BPF as far as filters use it."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    value, at, kept = 0, 0, [0] * 16
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
            case 0x02:
                kept[operand] = value
            case 0x54:
                value &= operand
            case 0x60:
                value = kept[operand]
            case 0x05:
                at += operand
            case 0x06:
                return operand
            case _:
                at += if_true if JUMPS[code](value, operand) else if_false


def resolved(name: str) -> int:
    number: int = LIBRARY.seccomp_syscall_resolve_name(name.encode())
    return number


def test_what_is_allowed_freely_passes_and_the_rest_does_not(program: list[tuple[int, int, int, int]]) -> None:
    freely = {resolved(name) for name in allowed.FREELY} - {resolved("ioctl")}
    unheard_of = {resolved(name) for name in allowed.UNHEARD_OF}
    asked = {resolved(name) for name in ("socket", "personality", "clone", "ioctl")}
    last = max(freely | unheard_of | asked)
    for number in set(range(last + 1)) - asked:
        wanted = ALLOW if number in freely else UNKNOWN if number in unheard_of else REFUSED
        assert answer(program, number) == wanted, number
    for number in (last + 1, 0x4000_0000, 0x4000_0027, 0xFFFF_FFFF):
        assert answer(program, number) == UNKNOWN


def test_what_depends_on_arguments_looks_at_them(program: list[tuple[int, int, int, int]]) -> None:
    families = {family: answer(program, resolved("socket"), family) for family in range(50)}
    assert {family for family, said in families.items() if said == ALLOW} == set(allowed.SOCKET_FAMILIES)
    assert {said for said in families.values() if said != ALLOW} == {REFUSED}
    assert answer(program, resolved("clone"), 0x11) == ALLOW
    assert answer(program, resolved("clone"), 0x1000_0000 | 0x11) == REFUSED
    assert answer(program, resolved("personality"), 0x8) == ALLOW
    assert answer(program, resolved("personality"), 0x4_0000) == REFUSED
    for high in (0, 1 << 32, 1 << 63):
        assert answer(program, resolved("ioctl"), 0, high | 0x5401) == ALLOW
        for request in (0x5412, 0x541C):
            assert answer(program, resolved("ioctl"), 0, high | request) == REFUSED


def test_another_architecture_is_killed(program: list[tuple[int, int, int, int]]) -> None:
    assert {answer(program, number, arch=NATIVE ^ 1) for number in range(500)} == {KILL}
