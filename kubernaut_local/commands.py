"""Running programs with a timeout, their output line by line, and a way to stop all of them at once.

Each program runs in its own process group, without a shell, and is killed when the thread that started it ends.
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
from types import TracebackType
from typing import IO

from kubernaut.adapters import pdeathsig_exec
from kubernaut.adapters.process import await_stop, is_stop
from kubernaut.errors import DeadlineExceeded, Interrupted, PlatformFailed, ToolMissing

TAIL_LINES = 20
_STOP_SECONDS = 3.0

LineCallback = Callable[[str], None]


def _ignore(line: str) -> None:
    """Ignore a line."""


class CommandRunner:
    """Runs programs, from any thread, until :meth:`stop` is called.

    A context manager: it stops the running programs when its block raises an exception.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def __enter__(self) -> CommandRunner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self.stop()

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        description: str,
        timeout: float,
        on_line: LineCallback = _ignore,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> list[str]:
        """Run a program and wait for its end.

        Args:
            argv: The program and its arguments.
            description: The subject of error messages, such as `Unpacking runc`.
            timeout: Seconds after which the program is killed.
            on_line: Called with each line of its standard error.
            env: Variables to add to the environment.
            cwd: The folder to run it in.

        Returns:
            The lines of its standard output.

        Raises:
            PlatformFailed: The exit status is not 0.
            DeadlineExceeded: The program was killed after the timeout.
            Interrupted: :meth:`stop` was called.
            ToolMissing: The program is not on PATH.
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
            output = _read_outputs((_pipe(process.stdout), _pipe(process.stderr)), tail, on_line)
            status = process.wait()
        except BaseException:
            _terminate(process)
            raise
        finally:
            timer.cancel()
            for pipe in (process.stdout, process.stderr):
                _pipe(pipe).close()
            with self._lock:
                self._running.discard(process)
        if is_stop(status):
            await_stop(lambda: self._raise_if_stopped(description))
        self._raise_if_stopped(description)
        if expired.is_set():
            raise DeadlineExceeded(f"{description} took longer than {timeout:.0f} s and was stopped.", details=tail)
        if status != 0:
            raise PlatformFailed(f"{description} failed: `{' '.join(command[:3])}` exited with status {status}.", details=tail)
        return output

    def stop(self) -> None:
        """Terminate the running programs and refuse to start another one."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _terminate(process)

    def _raise_if_stopped(self, description: str) -> None:
        if self._stopped:
            raise Interrupted(f"{description} was stopped.")

    def _start(self, command: list[str], env: Mapping[str, str], cwd: Path | None) -> subprocess.Popen[str]:
        program = shutil.which(command[0], path=env.get("PATH"))
        if program is None:
            raise ToolMissing(f"`{command[0]}` is not installed.")
        with self._lock:
            if self._stopped:
                raise Interrupted(f"`{command[0]}` was not started: the command was stopped.")
            process = subprocess.Popen(
                # Unlike setpriv, this also notices when this process was killed before the signal was set.
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


def _read_outputs(outputs: tuple[IO[str], IO[str]], tail: deque[str], on_line: LineCallback) -> list[str]:
    """Read both outputs to their ends; standard error in its own thread, since a full pipe would block the program."""
    stdout, stderr = outputs

    def read_errors() -> None:
        for text in stderr:
            tail.append(text.rstrip("\n"))
            on_line(text.rstrip("\n"))

    reader = threading.Thread(target=read_errors, daemon=True)
    reader.start()
    output = []
    for text in stdout:
        output.append(text.rstrip("\n"))
        tail.append(text.rstrip("\n"))
    reader.join()
    return output


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise TypeError("the program was started without a pipe")
    return stream


def _terminate(process: subprocess.Popen[str]) -> None:
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
    """Return the last lines of a log file; an empty list if it does not exist."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 32_768))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
