"""The filter of system calls, run by a small interpreter of its instruction set (seccomp(2), linux/bpf_common.h)."""

from __future__ import annotations

import errno
import platform
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tools import tool
from upkeep.agents import syscalls
from upkeep.agents.profile import Profile
from upkeep.agents.sandbox import Sandbox

ALLOWED, KILLED = "allowed", "killed"


def verdict(program: bytes, *, number: int, audit: int, arguments: tuple[int, ...] = ()) -> str:
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, *(0,) * (6 - len(arguments))))
    lines = list(struct.iter_unpack("<HBBI", program))
    word, at = 0, 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        match code:
            case 0x20:
                (word,) = struct.unpack_from("<I", data, value)
            case 0x15:
                at += yes if word == value else no
            case 0x35:
                at += yes if word >= value else no
            case 0x06 if value & 0xFFFF0000 == 0x00050000:
                return errno.errorcode[value & 0xFFFF]
            case 0x06:
                return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}[value]
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


def asked(name: str, machine: str, *arguments: int, uncounted: bool = False) -> str:
    program = syscalls.program(machine, uncounted=uncounted)
    assert program is not None
    tables = {**syscalls._REFUSED, **syscalls._ABSENT, **syscalls._UNCOUNTED, **syscalls._SOCKETS, **syscalls._TERMINAL}
    kind = syscalls.MACHINES[machine]
    number = tables[name][kind.column]
    assert number is not None
    return verdict(program, number=number, audit=kind.audit, arguments=arguments)


machines = pytest.mark.parametrize("machine", sorted(syscalls.MACHINES))


@machines
def test_what_leads_around_the_namespaces_is_refused(machine: str) -> None:
    for name in ("keyctl", "bpf", "unshare", "setns", "mount", "open_by_handle_at", "perf_event_open", "kexec_load"):
        assert asked(name, machine) == "EPERM", name
    assert asked("io_uring_setup", machine) == "ENOSYS"


@machines
def test_sockets_are_of_four_families(machine: str) -> None:
    families = {family for family in range(64) if asked("socket", machine, family) == ALLOWED}
    assert families == set(syscalls.FAMILIES.values())
    assert asked("socket", machine, 40) == asked("socketpair", machine, 40) == "EAFNOSUPPORT", "AF_VSOCK"
    assert asked("socket", machine, 40 + (1 << 32)) == "EAFNOSUPPORT", "the kernel looks at the lower half"
    assert asked("socket", machine, 2 + (1 << 32)) == ALLOWED


@machines
def test_nobody_types_into_our_terminal(machine: str) -> None:
    assert asked("ioctl", machine, 0, 0x5412) == "EPERM"
    assert asked("ioctl", machine, 0, 0x5401) == ALLOWED


@machines
def test_memory_of_no_process_is_for_gates_alone(machine: str) -> None:
    for name in ("shmget", "memfd_create", "memfd_secret", "msgget"):
        assert (asked(name, machine), asked(name, machine, uncounted=True)) == ("ENOSYS", ALLOWED)
    assert asked("keyctl", machine, uncounted=True) == "EPERM"


def test_another_abi_of_the_same_machine_is_no_way_around() -> None:
    program = syscalls.program("x86_64")
    assert program is not None
    i386, x32 = 0x40000003, 0x40000000
    assert verdict(program, number=41, audit=i386) == KILLED
    assert verdict(program, number=x32 | 41, audit=0xC000003E) == "ENOSYS"


def test_an_unknown_machine_has_no_filter() -> None:
    assert syscalls.program("riscv64") is None


@settings(max_examples=300, deadline=None)
@given(
    machine=st.sampled_from(sorted(syscalls.MACHINES)),
    number=st.integers(0, 2**32 - 1),
    audit=st.integers(0, 2**32 - 1) | st.sampled_from([kind.audit for kind in syscalls.MACHINES.values()]),
    arguments=st.tuples(*[st.integers(0, 2**64 - 1)] * 6),
)
def test_every_call_gets_a_verdict(machine: str, number: int, audit: int, arguments: tuple[int, ...]) -> None:
    """No jump leaves the program, whatever is asked; another ABI is never allowed."""
    program = syscalls.program(machine)
    assert program is not None
    given_verdict = verdict(program, number=number, audit=audit, arguments=arguments)
    assert given_verdict == KILLED if audit != syscalls.MACHINES[machine].audit else given_verdict != KILLED


@pytest.mark.parametrize("uncounted", [False, True])
def test_the_kernel_takes_it(tmp_path: Path, uncounted: bool) -> None:
    if syscalls.program(platform.machine()) is None:
        pytest.skip(f"there is no filter for {platform.machine()}")
    script = (
        "import ctypes, errno, socket, sys\n"
        "def tried(family):\n"
        " try: socket.socket(family).close(); return 'open'\n"
        " except OSError as error: return errno.errorcode[error.errno]\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(tried(socket.AF_INET), tried(socket.AF_VSOCK), tried(socket.AF_ALG))\n"
        "libc.shmget(0, 4096, 0o1600); print(errno.errorcode.get(ctypes.get_errno(), 'made'))\n"
        "libc.unshare(0x10000000); print(errno.errorcode[ctypes.get_errno()])\n"
    )
    work = tmp_path.resolve()
    profile = Profile(directory=work, home=work, private=(work,), uncounted_memory=uncounted)
    done = Sandbox(profile, tool("bwrap")).run(["python3", "-c", script], deadline=60)
    assert done.returncode == 0, done.error_text
    assert done.text.split() == ["open", "EAFNOSUPPORT", "EAFNOSUPPORT", "made" if uncounted else "ENOSYS", "EPERM"]
