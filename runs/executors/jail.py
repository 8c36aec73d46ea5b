"""Walls around a sandbox process, put up by the process itself just before it becomes the sandbox.

    python -IS jail.py WALLS FOLDER PROGRAM [ARGUMENT…]

A script run with nothing but the standard library; Linux only. The engine lets no script at a
file, a process or the network; these walls are for the day on which it has a bug. Each is put up
where the system allows it. WALLS are the optional ones to try, comma-separated; with `report`
among them, those that stand are printed first.

limits      no core, no file written, no further files, bounded memory, CPU time and processes
session     a session and process group of its own, an empty folder, no environment, no open files
unprivileged  another user than root, and no new privileges
namespaces  user, network (an empty one), IPC and process ids of its own
landlock    no file may be opened but the program and the system's libraries, no process signalled
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from contextlib import suppress

NOBODY = 65534
PDEATHSIG, DUMPABLE, NO_NEW_PRIVS = 1, 4, 38  # of prctl
NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MEMORY = 1536 * 1024 * 1024  # bytes: a script's limit, 512 MiB at most, and the engine's own address space
CPU_SECONDS = 3 * 3600  # over all scripts of this process
FILES, PROCESSES = 16, 16
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/nix/store")
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on every architecture
EXECUTE, READ_FILE, READ_DIR = 1, 4, 8

libc = ctypes.CDLL(None, use_errno=True)


def main(walls: set[str], folder: str, program: str, arguments: list[str]) -> None:
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2:
            with suppress(OSError):  # the listing's own is closed already
                os.close(fd)
    executable = os.open(program, os.O_RDONLY | os.O_CLOEXEC)  # another user may not find its way to it
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 2)
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    os.chdir(folder)
    standing = {"limits", "session"}
    isolated, private = _unshare() if "namespaces" in walls else (False, False)
    if os.geteuid() == 0:
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    if "namespaces" in walls and not isolated:
        isolated = private = _own(NEW_USER | NEW_NET | NEW_IPC | NEW_UTS | NEW_PID)
    elif isolated:
        private = _own(NEW_USER)
    if isolated:
        standing.add("namespaces")
        _fork_into_namespace()
    libc.prctl(PDEATHSIG, signal.SIGKILL)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and os.geteuid() != 0:
        standing.add("unprivileged")
    if "landlock" in walls and _landlock(executable):
        standing.add("landlock")
    if "report" in walls:
        os.write(1, ",".join(sorted(standing)).encode() + b"\n")
    _limit(own_user=private)
    os.execve(executable, [program, *arguments], {})  # noqa: S606 - this is what it is for


def _own(flags: int) -> bool:
    return bool(libc.unshare(flags) == 0)


def _unshare() -> tuple[bool, bool]:
    """As root, where that needs no user namespace: (whether the rest stands, whether the user one does)."""
    return os.geteuid() == 0 and _own(NEW_NET | NEW_IPC | NEW_UTS | NEW_PID), False


def _fork_into_namespace() -> None:
    """Go on as the first process of the new namespace; the one outside only waits, and ends like it."""
    child = os.fork()
    if child == 0:
        return
    libc.prctl(PDEATHSIG, signal.SIGKILL)
    os.close(0)
    os.close(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _limit(own_user: bool) -> None:
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_NOFILE, FILES),
    ]
    if own_user:  # else it would count what others do under the same user
        limits.append((resource.RLIMIT_NPROC, PROCESSES))
    for limit, value in limits:
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _landlock(executable: int) -> bool:
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = (1 << 13) - 1 | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    rules = struct.pack("<Q", rights | (1 << 15 if version >= 5 else 0))
    if version >= 4:
        rules += struct.pack("<Q", 3)  # TCP: neither bind nor connect
    if version >= 6:
        rules += struct.pack("<Q", 3)  # neither abstract sockets nor signals to the outside
    ruleset = libc.syscall(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    _permit(ruleset, executable, EXECUTE | READ_FILE)
    for path in LIBRARIES:
        with suppress(OSError):
            found = os.open(path, os.O_PATH | os.O_CLOEXEC)
            _permit(ruleset, found, (EXECUTE | READ_FILE | READ_DIR) if os.path.isdir(path) else READ_FILE)
            os.close(found)
    restricted: int = libc.syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return restricted == 0


def _permit(ruleset: int, path: int, rights: int) -> None:
    libc.syscall(ADD_RULE, ruleset, 1, struct.pack("<Qi", rights, path), 0)


if __name__ == "__main__":
    main(set(sys.argv[1].split(",")), sys.argv[2], sys.argv[3], sys.argv[4:])
