"""What every process of Ringkeep needs: pid file, log file, ports, signals, ending with its parent.

Knows nothing of nodes. Works on Linux and macOS; what only Linux can do is a harmless no-op elsewhere.
"""

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Final

from ringkeep.errors import ConfigurationError, of_directory
from ringkeep.exit_codes import FAILED

PID_FILE: Final = "pid"
LOG_FILE: Final = "log"
LOG_BYTES: Final = 10 * 1024 * 1024
LOG_BACKUPS: Final = 3
LOCK_PATIENCE_S: Final = 1.0  # a reader of the pid file holds its lock for an instant
_PR_SET_PDEATHSIG: Final = 1


# --- pid file ----------------------------------------------------------------------------------------


class PidFile:
    """`DIR/pid`: the process id in decimal, locked for as long as this process lives.

    The lock, not the number, says that the owner is alive: the kernel drops it with the process, so a
    number that was given to another process since is never mistaken for ours.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @classmethod
    def take(cls, directory: Path) -> "PidFile":
        """Make the directory if need be, lock its pid file and write our pid into it.

        Raises ConfigurationError if a live process holds it, or if the directory may not be written, and
        StorageError if the disk fails.
        """
        path = directory / PID_FILE
        deadline = time.monotonic() + LOCK_PATIENCE_S
        try:
            _make_directory(directory)
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                if _lock(descriptor, path):
                    break
                os.close(descriptor)
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"{directory} is in use by process {read_pid(directory) or '(unknown)'}; "
                        f"stop that one first, or choose another --data directory"
                    )
                time.sleep(0.02)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        except OSError as error:
            raise of_directory(directory, error) from None
        return cls(descriptor, path)

    def release(self) -> None:
        """Remove the file and give up the lock. Harmless to repeat."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> "PidFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _make_directory(directory: Path) -> None:
    """Make a directory durably: what is acknowledged later must not vanish with the name of its directory."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open pid file; False if another holds it, or if it was removed while we opened it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def read_pid(directory: Path) -> int | None:
    """Return the number in `DIR/pid`, or None. Does not check that the process is alive."""
    try:
        text = (directory / PID_FILE).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 31 else None


def owner(directory: Path) -> int | None:
    """Return the pid of the live process that holds `DIR/pid` by `PidFile`, or None."""
    try:
        descriptor = os.open(directory / PID_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_pid(directory)
    finally:
        os.close(descriptor)
    return None


def owner_by_command(directory: Path, *words: str) -> int | None:
    """Return the pid in `DIR/pid` if that process lives and each of `words` is part of its command line.

    For programs that cannot hold a lock for us (ZooKeeper's Java).
    """
    pid = read_pid(directory)
    if pid is None or not is_alive(pid):
        return None
    command = " ".join(command_line(pid))
    return pid if command and all(word in command for word in words) else None


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number that has not ended (a zombie has)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def command_line(pid: int) -> list[str]:
    """Return the arguments of a live process, [] if they cannot be known."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if sys.platform == "linux":
            return []
        shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        return os.fsdecode(shown.stdout).split()
    return [os.fsdecode(argument) for argument in raw.split(b"\0")[:-1]]


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has ended meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


# --- log ---------------------------------------------------------------------------------------------


def start_log(directory: Path, name: str, level: str = "info", to_stderr: bool = True) -> None:
    """Send this process's log to `DIR/log` (rotated: 10 MiB, three older ones), warnings also to stderr.

    `name` (the node's) stands in every line. Replaces what an earlier call set up. Raises ConfigurationError
    and StorageError if there can be no file.
    """
    pattern = f"%(asctime)s.%(msecs)03d %(levelname)-7s {name} %(name)s: %(message)s"
    path = directory / LOG_FILE
    try:
        file = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_BACKUPS, encoding="utf-8")
    except OSError as error:
        raise of_directory(directory, error) from None
    handlers: list[logging.Handler] = [file]
    if to_stderr:
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        handlers.append(terminal)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(pattern, datefmt="%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    logging.raiseExceptions = False  # a full disk must not print a traceback for every line of the log
    logging.getLogger("kazoo").setLevel(max(logging.WARNING, logging.getLogger().level))


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a text file, [] if there is none. Reads its last 16 KiB at most."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16 * 1024))
            return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []


# --- parents and children ----------------------------------------------------------------------------


def _load_prctl() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None


# Loaded here, not in the child between fork and exec, where loading a library could hang.
_PRCTL = _load_prctl()


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send us `number` when the thread that started us ends; exit if `parent` is gone by now.

    For `preexec_fn`: the setting outlives exec. Linux only; elsewhere it does nothing.
    """
    if _PRCTL is None:
        return
    _PRCTL(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(FAILED)


# --- ports -------------------------------------------------------------------------------------------


def run_in_batches() -> None:
    """Tell the kernel's scheduler that this process need not run at once when a message comes.

    The scheduler then does not interrupt a running process for every frame: on a busy machine a turn of the
    loop finds more to do, and a write costs a sixth less (docs/adr/0001-core-cost.md). An idle processor is
    still given at once. Does nothing on other systems. Call it before threads are started.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # not allowed here: only speed depends on it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def port_is_free(host: str, port: int) -> bool:
    """Whether a listener could be opened there now. `host` without brackets.

    An address that this machine does not have counts as free: the listener will say what is wrong with it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True


def addresses_here(host: str) -> list[str]:
    """Return the addresses to listen on for a name: those of this machine that it resolves to.

    `localhost` is often `::1` too, where IPv6 is switched off. Raises OSError if it has none of them, or if
    there is no such name. `host` without brackets.
    """
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    failure = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    addresses = []
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
            addresses.append(str(address[0]))
        except OSError as error:
            failure = OSError(error.errno, f"this machine does not have {address[0]} ({error.strerror})")
    if not addresses:
        raise failure
    return list(dict.fromkeys(addresses))


def first_free_port(host: str, start: int, avoid: Sequence[int] = ()) -> int | None:
    """Return the first free port from `start` on that is not in `avoid`, None if there is none."""
    return next(
        (port for port in range(start, 65_536) if port not in avoid and port_is_free(host, port)), None
    )
