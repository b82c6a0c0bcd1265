"""A build's console, line by line, as it comes."""

from __future__ import annotations

import hashlib
from collections import deque
from functools import partial

from kubernaut.errors import JobNotFound
from kubernaut.events import Step
from kubernaut.jenkins.asking import Asking
from kubernaut.jenkins.path import JobPath
from kubernaut.jenkins.server import Build, Console, Server

LAST = 20
"""How many of the last lines are kept."""
LONGEST_LINE = 1 << 16
_UNDECIDED = 10


class Lines:
    """Makes whole lines of pieces; knows what was there before when a log is told from its beginning again.

    Attributes:
        anew: The log is another one: what was shown before is no part of it.
    """

    def __init__(self) -> None:
        self.anew = False
        self._held = ""
        self._length = 0
        self._digest = hashlib.sha256()

    def take(self, piece: Console) -> list[str]:
        """Return the lines that a piece completes."""
        text, shown = piece.text, []
        self.anew = False
        if piece.reset:
            if self._known(text):
                text = text[self._length :]
            else:
                self.anew, shown = True, self.rest()
                self._length, self._digest = 0, hashlib.sha256()
        self._length += len(text)
        self._digest.update(_bytes(text))
        *lines, self._held = (self._held + text).split("\n")
        if len(self._held) > LONGEST_LINE:
            lines += self.rest()
        return shown + lines

    def rest(self) -> list[str]:
        """Return what no line end followed."""
        held, self._held = self._held, ""
        return [held] if held else []

    def _known(self, text: str) -> bool:
        return len(text) >= self._length and hashlib.sha256(_bytes(text[: self._length])).digest() == self._digest.digest()


class Follower:
    """Follows one build to its end.

    Args:
        server: Where it is.
        path: Its job.
        number: Its number.
        ask: Asks the server.
        step: Is told the lines.
    """

    def __init__(self, server: Server, path: JobPath, number: int, *, ask: Asking, step: Step) -> None:
        self._server = server
        self._path = path
        self._number = number
        self._ask = ask
        self._step = step
        self._lines = Lines()
        self._last: deque[str] = deque(maxlen=LAST)
        self._undecided = 0

    @property
    def last(self) -> tuple[str, ...]:
        """The last lines, those that say something."""
        return tuple(line for line in self._last if line.strip())

    def end(self) -> Build:
        """Tell the lines until the build has ended, and return it.

        Raises:
            JobNotFound: The build, or its job, is deleted.
            KubernautError: The server cannot be asked any more.
        """
        start = 0
        while True:
            piece = self._ask(partial(self._server.console, self._path, self._number, start))
            if piece is not None:
                start = piece.next
                lines = self._lines.take(piece)
                if self._lines.anew:
                    self._step.say("the console begins anew: the server has another log of the build than before")
                self._show(lines)
                if piece.more:
                    continue
            build = self.look()
            if self._has_ended(build):
                self._show(self._lines.rest())
                return build

    def look(self) -> Build:
        """Return the build as it is now. Raises: JobNotFound."""
        build = self._ask(lambda: self._server.build(self._path, self._number))
        if build is None:
            raise JobNotFound(
                f"The build #{self._number} of {self._path} is not there any more: it, or its job, was deleted meanwhile.",
                hint="What it did until then stays; `kubernaut history NAME -n NAMESPACE` shows what it did to a release.",
            )
        return build

    def _has_ended(self, build: Build) -> bool:
        """Say whether there is nothing to wait for; a build that stopped without a result gets one soon, or never."""
        self._undecided = self._undecided + 1 if not build.building and build.result is None else 0
        return not build.building and (build.result is not None or self._undecided > _UNDECIDED)

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            self._step.log(line)
            self._last.append(line)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
