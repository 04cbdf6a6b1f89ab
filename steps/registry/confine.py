"""Run a command that may connect to one TCP port: python -m MODULE PORT COMMAND.

skopeo gets a proxy, but Go's library takes none to 127.0.0.1, ::1 and localhost. So a registry that
redirects there, or names a server of tokens there, would reach what listens in the pod beside the
step. Landlock lets a process without rights give up all ports but the proxy's, and the kernel holds
it to that.

Linux has it since 6.7. On an older kernel, or where it is switched off, the command runs as it is:
then a registry can have requests sent to the pod itself, and the blobs of the run uploaded there.
No container of a run listens there; one that a service mesh adds may. What is downloaded from there
fails, for no digest is right.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

# The numbers are the same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_NET_PORT = 2
_ACCESS_CONNECT_TCP = 1 << 1
_ABI_WITH_PORTS = 4
_SET_NO_NEW_PRIVS = 38


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64))


class _Port(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def confined(port: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs another one with that port alone, where the kernel can."""
    return [sys.executable, "-P", "-m", __name__, str(port), *command]


def is_supported() -> bool:
    """Whether the kernel can refuse ports to a process."""
    return sys.platform == "linux" and _abi() >= _ABI_WITH_PORTS


def confine(port: int) -> None:
    """Give up connections to all other TCP ports, for this process and what it starts.

    Raises OSError where the kernel refuses what it says to support.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = _Ruleset(handled_access_net=_ACCESS_CONNECT_TCP)
    rules = _checked(
        libc.syscall(
            _CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(ctypes.sizeof(ruleset)), 0
        )
    )
    try:
        rule = _Port(allowed_access=_ACCESS_CONNECT_TCP, port=port)
        _checked(libc.syscall(_ADD_RULE, rules, _RULE_NET_PORT, ctypes.byref(rule), 0))
        _checked(libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _abi() -> int:
    """Version of Landlock; negative where there is none, or seccomp forbids it."""
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return version


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result


def main(arguments: Sequence[str]) -> None:
    """Become the command."""
    if is_supported():
        confine(int(arguments[0]))
    os.execvp(arguments[1], list(arguments[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
