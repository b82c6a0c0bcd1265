"""Run a program under control, and identify processes across machines.

A program runs tied to this process, in its own process group, with a deadline, and leaves nothing behind. It is stopped (SIGTERM to
its group, a grace period, SIGKILL) when the deadline passes or an exception is raised here, by ``check`` or Ctrl-C. All of it runs
in the calling thread, to which the kernel ties the program (``pdeathsig_exec``).

An abort signals the processes of a build one by one, in any order. So the result of a program that a signal stopped is only used
after the same signal had time to reach this process (:func:`await_stop`).

A process identity is ``BOOT ID/PID NAMESPACE/TIME NAMESPACE/HOST NAME/PID/START TIME``. A PID is unique only within a boot and a
PID namespace, and the kernel reuses it, but not with the same start time. Without a usable ``/proc`` (macOS, a sandbox) it is
``HOST NAME/PID``, which decides nothing.
"""

from __future__ import annotations

import os
import platform
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from kubernaut.errors import ToolMissing

_PDEATHSIG_EXEC = str(Path(__file__).with_name("pdeathsig_exec.py"))
_CHUNK = 65_536
_POLL = 0.2
_LONGEST_LINE = 8_192
_FULLEST_PIPE = 1 << 20  # Linux' default for the largest pipe

ABORT_SECONDS = 1.0
"""How much later than a program this process may receive the same abort's signal, in seconds."""

_STOPS = frozenset(
    status for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, 0)) for status in (-number, 128 + number)
)

_PROC = Path("/proc")
_IDENTITY = re.compile(r"(?P<scope>[^/]+/[^/]+/[^/]+/[^/]*)/(?P<pid>[1-9][0-9]{0,9})/(?P<start>[0-9]{1,20})")

Log = Callable[[str], None]
Check = Callable[[], None]


@dataclass(frozen=True)
class CompletedProcess:
    """The result of a program.

    Attributes:
        returncode: The exit status; negative for a signal, as in :mod:`subprocess`.
        stdout: The last ``keep`` bytes of the standard output.
        stderr: The last 200 lines of the standard error.
        timed_out: Whether the deadline stopped the program.
        truncated: Whether ``stdout`` lacks its beginning.
    """

    returncode: int
    stdout: bytes
    stderr: str
    timed_out: bool
    truncated: bool

    @property
    def text(self) -> str:
        """The standard output as text."""
        return self.stdout.decode("utf-8", "replace")


def find_program(program: str, path: str | None) -> str:
    """Return a program's absolute path. Raises: ToolMissing."""
    found = shutil.which(program, path=path)
    if found is None:
        raise ToolMissing(f"The program {program!r} is not installed or not executable.")
    return str(Path(found).absolute())


def no_check() -> None:
    """Let the program continue."""


def is_stop(status: int) -> bool:
    """Return whether an exit status means that SIGINT, SIGTERM or SIGHUP ended a program, directly or below a shell script."""
    return status in _STOPS


def await_stop(check: Check = no_check) -> None:
    """Wait so that an abort which stopped a program first can stop this process too.

    In the main thread the signal's exception is raised here. In another thread the caller's failure comes after that exception.
    ``check`` is called repeatedly, and raises when the work should stop.
    """
    until = time.monotonic() + ABORT_SECONDS
    check()
    while time.monotonic() < until:
        time.sleep(0.01)
        check()


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    deadline: float,
    input: bytes = b"",
    grace: float = 10.0,
    keep: int = 1 << 20,
    log: Log | None = None,
    check: Check = no_check,
) -> CompletedProcess:
    """Run a program to its end.

    Args:
        argv: The program's absolute path and its arguments.
        environment: The program's whole environment.
        deadline: Seconds until it is stopped.
        input: Its standard input.
        grace: Seconds between SIGTERM and SIGKILL.
        keep: How many bytes of its standard output are kept, from the end.
        log: Called with each line of its standard error.
        check: Called before the start and at least every 0.2 s, and once more when the program has failed: a requested stop is the
            reason then. An exception that it raises stops the program.

    Returns:
        The result; if SIGINT, SIGTERM or SIGHUP ended the program, after :func:`await_stop`.

    Raises:
        ToolMissing: The program cannot be started.
    """
    check()
    child, stdout, stderr = _start(argv, environment)
    pipes = _Pipes(child, stdout, stderr, input, keep, log)
    try:
        timed_out = not pipes.wait(time.monotonic() + deadline, check)
        if timed_out:
            _stop(child, pipes, grace)
    except BaseException:
        _stop(child, pipes, grace)
        raise
    finally:
        pipes.close()
        _signal(child, signal.SIGKILL)  # the rest of its group
        child.wait()
    if not timed_out and is_stop(child.returncode):
        await_stop(check)
    elif not timed_out and child.returncode != 0:
        check()
    return CompletedProcess(child.returncode, bytes(pipes.stdout), "\n".join(pipes.lines), timed_out, pipes.truncated)


def _start(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
    """Start a program tied to this process; return it with the read ends of its pipes.

    The child holds the read ends too, so that its pipes have a reader when this process is killed. Otherwise Helm, stopped by the
    kernel, would die of SIGPIPE at its next message, before it has written ``failed`` into its record.
    """
    pipes = [os.pipe(), os.pipe()]
    readers = [os.fdopen(reader, "rb", buffering=0) for reader, _ in pipes]
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", _PDEATHSIG_EXEC, str(os.getpid()), *argv],
            stdin=subprocess.PIPE,
            stdout=pipes[0][1],
            stderr=pipes[1][1],
            pass_fds=[reader.fileno() for reader in readers],
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        for reader in readers:
            reader.close()
        raise ToolMissing(f"{argv[0]} cannot be started: {error.strerror}.") from error
    finally:
        for _, writer in pipes:
            os.close(writer)
    return child, readers[0], readers[1]


class _Pipes:
    """The pipes of a child, served together so that none blocks."""

    def __init__(
        self, child: subprocess.Popen[bytes], stdout: IO[bytes], stderr: IO[bytes], input: bytes, keep: int, log: Log | None
    ) -> None:
        self._child = child
        self._stdout = stdout
        self._input = memoryview(input)
        self._keep = keep
        self.log = log
        self._partial = b""
        self.stdout = bytearray()
        self.truncated = False
        self.lines: deque[str] = deque(maxlen=200)
        self._selector = selectors.DefaultSelector()
        for pipe in (child.stdin, stdout, stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_WRITE if pipe is child.stdin else selectors.EVENT_READ)

    def wait(self, until: float, check: Check = no_check) -> bool:
        """Move bytes until the child has ended (true) or the monotonic clock has reached ``until`` (false)."""
        while self._selector.get_map():
            check()
            left = until - time.monotonic()
            if left > 0 and self._move_ready(min(left, _POLL)):
                continue
            if has_ended(self._child):
                self._drain()
                return True
            if left <= 0:
                return False
        while not has_ended(self._child):
            if time.monotonic() >= until:
                return False
            check()
            time.sleep(0.005)  # its pipes are closed, so it ends soon
        return True

    def close(self) -> None:
        """Close the pipes and add the last, unfinished line."""
        for key in list(self._selector.get_map().values()):
            self._close_pipe(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()
        if self._partial:
            self.lines.append(self._partial.decode("utf-8", "replace"))
            self._partial = b""

    def _drain(self) -> None:
        """Read the rest that an ended child left in its pipes, which a grandchild may keep open and fill further.

        The child may have written it since the last poll, above all when this process was paused meanwhile.
        """
        for _ in range(_FULLEST_PIPE // _CHUNK):
            if not self._selector.get_map() or not self._move_ready(0):
                return

    def _move_ready(self, seconds: float) -> bool:
        """Move the bytes that are ready within some seconds; return whether there were any."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            self._move(key.fileobj)  # type: ignore[arg-type]
        return bool(ready)

    def _move(self, pipe: IO[bytes]) -> None:
        if pipe is self._child.stdin:
            self._write(pipe)
            return
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._close_pipe(pipe)
        elif pipe is self._stdout:
            self.stdout += chunk
            if len(self.stdout) > self._keep:
                del self.stdout[: len(self.stdout) - self._keep]
                self.truncated = True
        else:
            self._add_lines(chunk)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            self._input = self._input[os.write(pipe.fileno(), self._input[:_CHUNK]) :] if self._input else self._input
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = memoryview(b"")
        if not self._input:
            self._close_pipe(pipe)

    def _add_lines(self, chunk: bytes) -> None:
        *whole, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > _LONGEST_LINE:
            whole, self._partial = [*whole, self._partial], b""
        for raw in whole:
            line = raw[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
            self.lines.append(line)
            if self.log is not None:
                self.log(line)

    def _close_pipe(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        with suppress(OSError):
            pipe.close()


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Return whether a child has ended, without reaping it: until then its process group's ID is not reused."""
    if child.returncode is not None:
        return True
    if not hasattr(os, "waitid"):
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _stop(child: subprocess.Popen[bytes], pipes: _Pipes, grace: float) -> None:
    pipes.log = None
    _signal(child, signal.SIGTERM)
    pipes.wait(time.monotonic() + grace)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def process_identity() -> str:
    """Return the identity of this process."""
    scope, stat = _pid_scope(), _read_stat("self")
    if scope is None or stat is None:
        return f"{platform.node()}/{os.getpid()}"
    return f"{scope}/{os.getpid()}/{stat.start}"


def is_process_gone(identity: str) -> bool:
    """Return whether the process with this identity has certainly ended.

    False where that is unknown: another machine, boot or namespace, or a text that is not an identity.
    """
    match = _IDENTITY.fullmatch(identity)
    if match is None or match["scope"] != _pid_scope():
        return False
    pid = int(match["pid"])
    try:
        os.kill(pid, 0)  # before /proc, which may hide other users' processes
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    stat = _read_stat(str(pid))
    if stat is None:
        return False
    # A zombie with further threads is a process whose first thread alone has ended.
    return stat.start != int(match["start"]) or (stat.state in "ZX" and stat.threads <= 1)


class _Stat(NamedTuple):
    """Fields of ``/proc/PID/stat``; ``start`` is in clock ticks since boot."""

    state: str
    threads: int
    start: int


def _pid_scope() -> str | None:
    """Return the scope in which this process's PID and start time are unique; ``None`` if unknown."""
    try:
        if (_PROC / "self").readlink().name != str(os.getpid()):
            return None  # the /proc of another PID namespace is mounted here
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        pids = (_PROC / "self/ns/pid").stat().st_ino
        time = _PROC / "self/ns/time"
        times = time.stat().st_ino if time.exists() else 0
    except (OSError, ValueError):
        return None
    return f"{boot}/{pids}/{times}/{platform.node()}" if boot else None


def _read_stat(name: str) -> _Stat | None:
    """Return a process's fields in ``/proc``; ``None`` if they cannot be read."""
    try:
        fields = (_PROC / name / "stat").read_bytes().rpartition(b")")[2].split()
        return _Stat(fields[0].decode("ascii"), int(fields[17]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
