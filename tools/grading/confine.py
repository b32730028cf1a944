"""Confines the calling process: it sees only the files that it is given, has no network, and has limits (Linux).

After enter_namespaces(), a fork, enter_box(...) and drop_privileges(...), the process is the first one in namespaces of
its own. Its root is a file system in memory; what is shown there of other file systems can be read and not be changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from pathlib import Path

NAMESPACES, USER_NAMESPACE = 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000 | 0x04000000, 0x10000000
NOBODY = 64321  # the user as whom student code runs if the grader is root: a number that nobody has
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 2**18
MOUNT_SETATTR = 442  # the number of the system call, the same on every processor (Linux 5.12 or newer)
READ_ONLY, EVERYTHING_BELOW, HERE = 1 | MS_NOSUID | MS_NODEV, 0x8000, -100
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
CAPABILITY_VERSION, LAST_CAPABILITY = 0x20080522, 63
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
DEVICES = ("null", "zero", "random", "urandom")
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str):
    """Raise an OSError if a system call failed."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def die_with_parent():
    """Let Linux kill this process as soon as its parent has ended; a change of the user cancels this."""
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def enter_namespaces() -> bool:
    """Put this process into new namespaces; the next process that it starts is the first one in them.

    Only root may do this. Another user becomes root in a namespace of users, which has no rights outside it. Return
    whether the process is root outside, too.
    """
    user, group = os.geteuid(), os.getegid()
    checked(libc.unshare(NAMESPACES | (USER_NAMESPACE if user else 0)), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")) if user else ():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return user == 0


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None):
    """Call mount(2)."""
    encoded = [text and text.encode() for text in (source, target, kind)]
    checked(libc.mount(*encoded, ctypes.c_ulong(flags), options and options.encode()), f"mount {target}")


def show_read_only(source: str, target: str):
    """Show a file or folder, and everything below it, at another path, where it cannot be changed."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(source, target, None, MS_BIND | MS_REC)
    make_read_only(target)


def make_read_only(target: str):
    """Forbid changes through a mount and those below it. This also holds for root's files in /proc/sys."""
    place = (ctypes.c_int(HERE), target.encode(), ctypes.c_uint(EVERYTHING_BELOW))
    change = struct.pack("4Q", READ_ONLY, 0, 0, 0)  # flags to set and to clear, propagation, namespace of users
    checked(libc.syscall(MOUNT_SETATTR, *place, change, ctypes.c_size_t(len(change))), f"mount_setattr {target}")


def seen_by_all() -> list[str]:
    """List what every child sees, at the same path as here: the system, Python, and this package with the library."""
    suite = Path(__file__).resolve().parents[2]
    packages = [os.path.abspath(path) for path in sys.path if "site-packages" in path]
    return [*SYSTEM, *sorted({sys.prefix, sys.base_prefix, *packages}), f"{suite}/utils", f"{suite}/tools/grading"]


def enter_box(box: str, shown: dict, disk: int):
    """Make a file system in memory of `disk` bytes at the folder `box`, show {path in it: source}, make it the root."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", box, "tmpfs", MS_NOSUID | MS_NODEV, f"size={disk},mode=755")
    for name in ("tmp", "dev/shm", "proc", "home"):
        os.makedirs(f"{box}/{name}")
    for name in ("tmp", "dev/shm"):
        os.chmod(f"{box}/{name}", 0o1777)
    for target, source in ({path: path for path in seen_by_all()} | shown).items():
        if os.path.islink(source):  # such as /lib, which is a link to /usr/lib
            os.symlink(os.readlink(source), box + target)
        elif os.path.exists(source):
            show_read_only(source, box + target)
    for name in DEVICES:
        open(f"{box}/dev/{name}", "w").close()
        mount(f"/dev/{name}", f"{box}/dev/{name}", None, MS_BIND)
    with contextlib.suppress(OSError):  # some containers forbid it; almost nothing needs it
        mount("proc", f"{box}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        make_read_only(f"{box}/proc")
    os.chroot(box)
    os.chdir("/")


def drop_privileges(home: str, is_root: bool):
    """Give up every capability for good; if the grader is root, become NOBODY, to whom `home` belongs then."""
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")
    if is_root:
        for top, folders, names in os.walk(home):
            for name in (".", *folders, *names):
                os.chown(os.path.join(top, name), NOBODY, NOBODY, follow_symlinks=False)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    checked(libc.capset(struct.pack("2I", CAPABILITY_VERSION, 0), bytes(24)), "capset")  # keeps none
    die_with_parent()


def set_limits(memory: int, disk: int, processes: int):
    """Set the limits that Linux enforces for each process; the parent looks after those of all processes together."""
    values = {"AS": 4 * memory, "FSIZE": disk, "NPROC": 4 * processes, "CORE": 0}  # torch reserves much address space
    for name, value in values.items():  # that of the number of processes, with threads, does not bind root
        number = getattr(resource, f"RLIMIT_{name}")
        _, highest = resource.getrlimit(number)
        value = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(number, (value, value))
