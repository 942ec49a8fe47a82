"""Which system calls a sandboxed program may not make, as a filter for seccomp(2).

What belongs here: the list with its reasons, and its translation into a program that bubblewrap loads. What does not:
anything that namespaces and missing capabilities hold already; what stands here in spite of them is there because the
kernel has erred in it before.

A list of what is refused, not of what is allowed: compilers, package managers and test suites run inside, and nobody
knows what they call. The numbers are the kernel's own (asm/unistd_64.h, asm-generic/unistd.h); a machine of another
kind gets no filter, and `upkeep sandbox show` says so.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

# Address families that a network namespace holds, or that are the machine's own business. All others are refused:
# AF_VSOCK leads to the host of a virtual machine whatever the namespace, and the rest is kernel code that nobody needs.
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}

# name: (x86_64, aarch64), None where there is no such call.
_SOCKETS = {"socket": (41, 198), "socketpair": (53, 199)}
_TERMINAL = {"ioctl": (16, 29)}
_TERMINAL_REQUESTS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""Typing into the terminal of whoever started Upkeep."""

_REFUSED = {
    # Keys that the kernel keeps, for the account or for itself.
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    # Programs in the kernel, and looking into it.
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "syslog": (103, 116)},
    **{"lookup_dcookie": (212, 18), "kexec_load": (246, 104), "kexec_file_load": (320, 294)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    # New namespaces and mounts: the way to most of the kernel's errors.
    **{"unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41)},
    **{"fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433)},
    **{"move_mount": (429, 429), "open_tree": (428, 428), "mount_setattr": (442, 442), "chroot": (161, 51)},
    # Files by handle, past every mount.
    **{"open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262)},
    # The machine's own.
    **{"acct": (163, 89), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "vhangup": (153, 58)},
    **{"quotactl": (179, 60), "quotactl_fd": (443, 443), "nfsservctl": (180, 42), "settimeofday": (164, 170)},
    **{"clock_settime": (227, 112), "clock_adjtime": (305, 266), "uselib": (134, None)},
    **{"iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None)},
}
# Said not to exist, so that whoever can do without does.
_ABSENT = {"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)}
_UNCOUNTED = {
    # Memory that belongs to no process, so that nobody counts it. PostgreSQL needs the first, so gates may.
    **{"shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190)},
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447)},
}


@dataclass(frozen=True)
class Machine:
    """`audit` names the ABI (linux/audit.h), `column` the numbers' place in the tables. `foreign`: calls from this
    number on are of another ABI of the same machine (x32)."""

    audit: int
    column: int
    foreign: int | None = None


MACHINES = {"x86_64": Machine(0xC000003E, 0, 0x40000000), "aarch64": Machine(0xC00000B7, 1)}

# struct seccomp_data: number at 0, ABI at 4, arguments of 8 bytes from 16 on; both machines are little-endian.
_NUMBER, _ABI, _FIRST, _SECOND = 0, 4, 16, 24
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000

_Line = tuple[int, int, int, int]


def program(machine: str, *, uncounted: bool = False) -> bytes | None:
    """The filter for a machine as platform.machine() names it; None for one that is not known. `uncounted`: memory
    that no process is accounted for may be had (for gates)."""
    kind = MACHINES.get(machine)
    if kind is None:
        return None
    absent = _ABSENT if uncounted else {**_ABSENT, **_UNCOUNTED}
    lines: list[_Line] = [
        *_unless(_ABI, kind.audit, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *([] if kind.foreign is None else [(_AT_LEAST, 0, 1, kind.foreign), _give(_ERROR | errno.ENOSYS)]),
        *(line for call in _numbers(_REFUSED, kind) for line in _if(call, _give(_ERROR | errno.EPERM))),
        *(line for call in _numbers(absent, kind) for line in _if(call, _give(_ERROR | errno.ENOSYS))),
        *(line for call in _numbers(_SOCKETS, kind) for line in _if(call, *_families())),
        *(line for call in _numbers(_TERMINAL, kind) for line in _if(call, *_requests())),
        _give(_ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def _numbers(calls: Mapping[str, tuple[int, int | None]], kind: Machine) -> list[int]:
    return [number for numbers in calls.values() if (number := numbers[kind.column]) is not None]


def _give(verdict: int) -> _Line:
    return _RETURN, 0, 0, verdict


def _if(value: int, *then: _Line) -> list[_Line]:
    """`then`, which ends the program, where the loaded word is `value`."""
    return [(_EQUAL, 0, len(then), value), *then]


def _unless(place: int, value: int, verdict: int) -> list[_Line]:
    return [(_LOAD, 0, 0, place), (_EQUAL, 1, 0, value), _give(verdict)]


def _families() -> list[_Line]:
    allowed = [line for family in FAMILIES.values() for line in _if(family, _give(_ALLOW))]
    return [(_LOAD, 0, 0, _FIRST), *allowed, _give(_ERROR | errno.EAFNOSUPPORT)]


def _requests() -> list[_Line]:
    refused = [line for number in _TERMINAL_REQUESTS.values() for line in _if(number, _give(_ERROR | errno.EPERM))]
    return [(_LOAD, 0, 0, _SECOND), *refused, _give(_ALLOW)]
