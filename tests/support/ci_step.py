"""A build's shell step as a CI server runs and aborts it: its own shell, its output a pipe, a signal to each process."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from support.processes import marked, parents, paused, send_signal
from support.waiting import until

ROUNDS = 3
"""How often each process gets the signal: once by its parent's pid, once by its cookie, and once more."""


class ShellStep:
    """A running shell step; leaving the context kills its processes.

    Args:
        script: The shell's script.
        environment: The build's.
        folder: Its workspace.
    """

    def __init__(self, script: str, environment: Mapping[str, str], folder: Path) -> None:
        self._cookie = f"HUDSON_COOKIE={uuid.uuid4()}"
        name, _, cookie = self._cookie.partition("=")
        file = folder / f"step-{cookie[:8]}.sh"
        file.write_text(f"#!/bin/bash\nset -e\n{script}\necho the step is done\n")
        self._process = subprocess.Popen(
            ["/bin/bash", file],
            cwd=folder,
            env={**environment, name: cookie},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in (*self.processes(), self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)
        self._hang_up()

    def processes(self) -> list[int]:
        """The living processes of the step: those with the build's cookie, and their children."""
        living = parents()
        found = list(dict.fromkeys((self._process.pid, *marked(self._cookie))))
        for pid in found:
            found += [child for child, parent in living.items() if parent == pid and child not in found]
        return [pid for pid in found if pid in living]

    def programs(self) -> set[str]:
        """The names of those processes."""
        found = set()
        for pid in self.processes():
            with suppress(OSError):
                found.add(Path(f"/proc/{pid}/comm").read_text().strip())
        return found

    def wait_for(self, text: str) -> None:
        """Read its console until a line holds a text."""
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line.decode(errors="replace"))
            if text in lines[-1]:
                return
        raise AssertionError(f"the console never contained {text!r}: {''.join(lines)}")

    def abort(self, *, innermost_first: bool = False) -> None:
        """Send SIGTERM to every process one by one and repeatedly, the innermost first, and close the console.

        Args:
            innermost_first: The innermost has ended before the others get the signal.
        """
        tree = self.processes()
        self._hang_up()
        if innermost_first:
            os.kill(tree[-1], signal.SIGTERM)
            until(lambda: tree[-1] not in parents(), "the innermost has obeyed")
        with paused(*self._started()):  # so that no kubernaut sees its Helm obey before it hears of it itself
            send_signal(tree[::-1], signal.SIGTERM)
        for _ in range(ROUNDS - 1):
            send_signal(tree[::-1], signal.SIGTERM)

    def end(self, seconds: float = 120.0) -> str:
        """Wait for its end, check its success, and return its console."""
        output, _ = self._process.communicate(timeout=seconds)
        console = output.decode(errors="replace")
        assert self._process.returncode == 0, console
        return console

    def gone(self, seconds: float = 30.0) -> None:
        """Wait until nothing of it lives."""
        until(lambda: not self.processes(), "no process of the step lives", seconds)

    def _started(self) -> list[int]:
        """The living children of the shell."""
        return [pid for pid, parent in parents().items() if parent == self._process.pid]

    def _hang_up(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
