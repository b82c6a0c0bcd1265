"""Running the programs that make the platform's parts: one deadline each, their output line by line, and a way to stop them all.

Programs run in process groups of their own and die with the thread that started them. No shell is involved anywhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from kubernaut.adapters import pdeathsig_exec
from kubernaut.adapters.process import await_stop, is_stop
from kubernaut.errors import DeadlineExceeded, Interrupted, PlatformFailed, ToolMissing

TAIL_LINES = 20
_STOP_SECONDS = 3.0

Line = Callable[[str], None]


def _ignore(line: str) -> None:
    """Take a line and do nothing with it."""


class Commands:
    """Runs programs, from any thread, until :meth:`stop` is called; then it ends those that run and starts no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        what: str,
        timeout: float,
        line: Line = _ignore,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> list[str]:
        """Run a program to its end.

        Args:
            argv: The program and its arguments.
            what: What it is for, in a person's words; the error's subject.
            timeout: Seconds after which it is killed.
            line: Is given each line of its standard error as it comes.
            env: Variables to add to the environment.
            cwd: Where to run it.

        Returns:
            The lines of its standard output.

        Raises:
            PlatformFailed: It ended with another status than 0.
            DeadlineExceeded: It was killed at its deadline.
            Interrupted: :meth:`stop` was called.
            ToolMissing: There is no such program.
        """
        command = [str(part) for part in argv]
        expired = threading.Event()
        process = self._start(command, {**os.environ, **(env or {})}, cwd)

        def expire() -> None:
            expired.set()
            _kill(process, signal.SIGKILL)

        timer = threading.Timer(timeout, expire)
        timer.daemon = True
        timer.start()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        try:
            output = _pump((_pipe(process.stdout), _pipe(process.stderr)), tail, line)
            status = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            timer.cancel()
            for pipe in (process.stdout, process.stderr):
                _pipe(pipe).close()
            with self._lock:
                self._running.discard(process)
        if is_stop(status):
            await_stop(lambda: self._check(what))
        self._check(what)
        if expired.is_set():
            raise DeadlineExceeded(f"{what} took longer than {timeout:.0f} s and was stopped.", details=tail)
        if status != 0:
            raise PlatformFailed(f"{what} failed: `{' '.join(command[:3])}` ended with status {status}.", details=tail)
        return output

    def stop(self) -> None:
        """End the programs that run, and let no further one start."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    def _check(self, what: str) -> None:
        if self._stopped:
            raise Interrupted(f"{what} was stopped.")

    def _start(self, command: list[str], env: Mapping[str, str], cwd: Path | None) -> subprocess.Popen[str]:
        program = shutil.which(command[0], path=env.get("PATH"))
        if program is None:
            raise ToolMissing(f"`{command[0]}` is not installed.")
        with self._lock:
            if self._stopped:
                raise Interrupted("The work was stopped.")
            process = subprocess.Popen(
                # setpriv would not notice that we were killed before it has told the kernel what is to happen then.
                [
                    sys.executable,
                    "-I",
                    "-S",
                    pdeathsig_exec.__file__,
                    str(os.getpid()),
                    str(Path(program).absolute()),
                    *command[1:],
                ],
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
            return process


def _pump(outputs: tuple[IO[str], IO[str]], tail: deque[str], line: Line) -> list[str]:
    """Read both outputs to their ends; standard error in a thread of its own, or a full pipe would stop the program."""
    plain, errors = outputs

    def read_errors() -> None:
        for text in errors:
            tail.append(text.rstrip("\n"))
            line(text.rstrip("\n"))

    reader = threading.Thread(target=read_errors, daemon=True)
    reader.start()
    output = []
    for text in plain:
        output.append(text.rstrip("\n"))
        tail.append(text.rstrip("\n"))
    reader.join()
    return output


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise TypeError("the program was started without a pipe")
    return stream


def _end(process: subprocess.Popen[str]) -> None:
    _kill(process, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(process, signal.SIGKILL)
        process.wait()


def _kill(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """Return the last lines of a log file, or none if there is no such file."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 32_768))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
