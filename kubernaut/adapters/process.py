"""Run a program under control: tied to us, in a process group of its own, with a deadline, and with nothing of it left behind.

The program is stopped (SIGTERM to its group, a grace, SIGKILL) when the deadline passes or when anything is raised here meanwhile,
by ``check`` or by Ctrl-C; then that is raised. All of it happens in the calling thread, which the kernel ties the program to
(``pdeathsig_exec``).

An abort signals the processes of a build one by one, in any order. A program that was stopped by such a signal is not judged before
the same signal had time to reach this process (:func:`await_stop`): the stop is the reason then, not the program's failure.
"""

from __future__ import annotations

import os
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
from typing import IO

from kubernaut.errors import ToolMissing

_PDEATHSIG_EXEC = str(Path(__file__).with_name("pdeathsig_exec.py"))
_CHUNK = 65_536
_POLL = 0.2
_LONGEST_LINE = 8_192
_FULLEST_PIPE = 1 << 20  # Linux' default for the largest pipe

ABORT_SECONDS = 1.0
"""How long after a program the process that started it may get the signals of one abort."""

_STOPS = frozenset(
    status for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, 0)) for status in (-number, 128 + number)
)

Log = Callable[[str], None]
Check = Callable[[], None]


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        status: Its exit status; negative for a signal, as :mod:`subprocess` has it.
        stdout: What it wrote, the last ``keep`` bytes of it.
        stderr: The last 200 lines.
        late: Whether the deadline stopped it.
        cut: Whether some of ``stdout`` was dropped.
    """

    status: int
    stdout: bytes
    stderr: str
    late: bool
    cut: bool


def find_program(program: str, path: str | None) -> str:
    """Return a program's absolute path. Raises: ToolMissing."""
    found = shutil.which(program, path=path)
    if found is None:
        raise ToolMissing(f"The program {program!r} is not installed, or cannot be run.")
    return str(Path(found).absolute())


def unchecked() -> None:
    """Let the program run on."""


def is_stop(status: int) -> bool:
    """Say whether an exit status means that SIGINT, SIGTERM or SIGHUP ended a program, directly or below a shell script."""
    return status in _STOPS


def await_stop(check: Check = unchecked) -> None:
    """Give an abort that stopped a program first the time to stop this process too.

    In the main thread the signal's exception is raised here. In another thread the caller's failure comes after that exception.

    Args:
        check: Is asked all the while; raises when the work is to be stopped.
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
    check: Check = unchecked,
) -> Finished:
    """Run a program to its end.

    Args:
        argv: The program's absolute path and its arguments.
        environment: All of its environment.
        deadline: Seconds until it is stopped.
        input: What it reads on standard input.
        grace: Seconds between SIGTERM and SIGKILL.
        keep: How much of its standard output is kept, the end of it, in bytes.
        log: Is told each line of its standard error.
        check: Is asked before the start, and at least every 0.2 s, whether it may go on; what it raises stops the program. It is
            asked once more when the program has failed: a stop is the reason for that then.

    Returns:
        How it ended. Of a program that SIGINT, SIGTERM or SIGHUP ended it is returned after :func:`await_stop`.

    Raises:
        ToolMissing: It cannot be started.
    """
    check()
    child, stdout, stderr = _start(argv, environment)
    pump = _Pump(child, stdout, stderr, input, keep, log)
    late = False
    try:
        if not pump.until_end(time.monotonic() + deadline, check):
            late = True
            _stop(child, pump, grace)
    except BaseException:
        _stop(child, pump, grace)
        raise
    finally:
        pump.close()
        _end(child)
    if not late and is_stop(child.returncode):
        await_stop(check)
    elif not late and child.returncode != 0:
        check()
    return Finished(child.returncode, bytes(pump.stdout), "\n".join(pump.lines), late, pump.cut)


def _start(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
    """Start a program, tied to us; return it with the ends of its pipes that we read.

    The child holds these ends too: when we are killed its pipes still have a reader. Otherwise Helm, told by the kernel to end,
    would die of SIGPIPE while it says so, before it has written ``failed`` into its record.
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


class _Pump:
    """Moves bytes between us and a child without ever waiting for one pipe alone."""

    def __init__(
        self, child: subprocess.Popen[bytes], stdout: IO[bytes], stderr: IO[bytes], input: bytes, keep: int, log: Log | None
    ) -> None:
        self._child = child
        self._stdout = stdout
        self._input = memoryview(input)
        self._keep = keep
        self._log = log
        self._partial = b""
        self.stdout = bytearray()
        self.cut = False
        self.lines: deque[str] = deque(maxlen=200)
        self._selector = selectors.DefaultSelector()
        for pipe, events in (
            (child.stdin, selectors.EVENT_WRITE),
            (stdout, selectors.EVENT_READ),
            (stderr, selectors.EVENT_READ),
        ):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, events)

    def until_end(self, until: float, check: Check = unchecked) -> bool:
        """Pump until the child has ended (true) or the clock has reached ``until`` (false)."""
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
            time.sleep(0.005)  # its pipes are closed: it is about to end
        return True

    def close(self) -> None:
        """Close the pipes and say the last, unfinished line."""
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()
        if self._partial:
            self.lines.append(self._partial.decode("utf-8", "replace"))
            self._partial = b""

    def mute(self) -> None:
        """Tell nobody of further lines."""
        self._log = None

    def _drain(self) -> None:
        """Read what an ended child left in its pipes, which a grandchild may keep open and fill further.

        The child may have written it since the pipes were last looked at, above all when this process was paused meanwhile.
        """
        for _ in range(_FULLEST_PIPE // _CHUNK):
            if not self._selector.get_map() or not self._move_ready(0):
                return

    def _move_ready(self, seconds: float) -> bool:
        """Move what is ready within some seconds; false if nothing is."""
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
            self._drop(pipe)
        elif pipe is self._stdout:
            self.stdout += chunk
            if len(self.stdout) > self._keep:
                del self.stdout[: len(self.stdout) - self._keep]
                self.cut = True
        else:
            self._say(chunk)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            self._input = self._input[os.write(pipe.fileno(), self._input[:_CHUNK]) :] if self._input else self._input
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = memoryview(b"")
        if not self._input:
            self._drop(pipe)

    def _say(self, chunk: bytes) -> None:
        *whole, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > _LONGEST_LINE:
            whole, self._partial = [*whole, self._partial], b""
        for raw in whole:
            line = raw[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
            self.lines.append(line)
            if self._log is not None:
                self._log(line)

    def _drop(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        with suppress(OSError):
            pipe.close()


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Say whether a child has ended, leaving it unreaped: as long as it is, its process group's number is nobody else's."""
    if child.returncode is not None:
        return True
    if not hasattr(os, "waitid"):
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _stop(child: subprocess.Popen[bytes], pump: _Pump, grace: float) -> None:
    pump.mute()
    _signal(child, signal.SIGTERM)
    pump.until_end(time.monotonic() + grace)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what is left of the group, then reap the child."""
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
