"""The steps of a verb, shown while they run: two displays of the same events."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

from kubernaut.cli.options import is_verbose
from kubernaut.cli.output import Talk, clean, on_terminal, say
from kubernaut.cli.signals import when_stopped
from kubernaut.events import Event, Listener, LogLine, Notice, StepFinished, StepOutcome, StepStarted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

TAIL = 20
"""How many of a failed step's last lines are shown."""

_WITH_HELM = frozenset(("deploy", "rollback", "restore", "delete"))
STOPPING = "Stopping: {}. Another signal changes nothing."
HELM_WRITES = "Helm writes down how far it came"
TIDYING = "what was begun is put in order"

_MARKS = {
    StepOutcome.DONE: ("✓", "green"),
    StepOutcome.UNCHANGED: ("=", "cyan"),
    StepOutcome.FAILED: ("✗", "red"),
}

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
"""Shortened where a person reads along; whole in logs, in JSON and in what a verb prints at its end."""

_shown: set[str] = set()


def already_shown(lines: Iterable[str]) -> bool:
    """Say whether a failed step's last lines held all of these, so that its error need not repeat them."""
    return all(clean(line).strip() in _shown for line in lines)


def duration(seconds: float) -> str:
    """Write a duration for a person: ``0.4s``, ``12.3s``, ``4m05s``."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


class _Display:
    """What both displays share: which steps run, and the last lines of each."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._tails: dict[str, deque[str]] = {}
        self._lock = threading.RLock()
        _shown.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, StepStarted):
                self._tails[event.step] = deque(maxlen=TAIL)
                self._started(event)
            elif isinstance(event, LogLine):
                text = clean(event.text).rstrip()
                self._tails.setdefault(event.step, deque(maxlen=TAIL)).append(text)
                self._line(event.step, text)
            elif isinstance(event, Notice):
                self._notice(event.step, clean(event.text))
            else:
                self._finished(event)

    def stopping(self) -> None:
        """Tell the person that it is going to end, and what it waits for; where no step runs it waits for nothing."""
        with self._lock:
            if self._tails:
                self._say(STOPPING.format(TIDYING if _WITH_HELM.isdisjoint(self._tails) else HELM_WRITES))

    def _tail(self, event: StepFinished) -> Sequence[str]:
        """Return the lines to show under a step that failed; a step that a signal stopped has no message, and no lines."""
        tail = [line for line in self._tails.pop(event.step, ()) if line.strip()]
        if event.outcome is not StepOutcome.FAILED or not event.detail:
            return ()
        _shown.update(line.strip() for line in tail)
        return () if self._verbose else tail

    def _say(self, text: str) -> None:
        raise NotImplementedError

    def _started(self, event: StepStarted) -> None:
        raise NotImplementedError

    def _line(self, step: str, text: str) -> None:
        raise NotImplementedError

    def _notice(self, step: str, text: str) -> None:
        raise NotImplementedError

    def _finished(self, event: StepFinished) -> None:
        raise NotImplementedError


class Plain(_Display):
    """A line when a step starts and a line when it ends; for CI logs and files."""

    def _say(self, text: str) -> None:
        say(text)

    def _started(self, event: StepStarted) -> None:
        say(f"{event.step:<10} started    {event.subject}".rstrip())

    def _line(self, step: str, text: str) -> None:
        if self._verbose:
            say(f"{step:<10} | {text}")

    def _notice(self, step: str, text: str) -> None:
        say(f"{step:<10} {text}")

    def _finished(self, event: StepFinished) -> None:
        for line in self._tail(event):
            say(f"{event.step:<10} | {line}")
        detail = event.detail or ("stopped" if event.outcome is StepOutcome.FAILED else "")
        say(f"{event.step:<10} {event.outcome.value:<10} {duration(event.seconds):>6}  {detail}".rstrip())


class Live(_Display):
    """Finished steps stay as lines; below them each running step has a spinner, its time and what its tool said last."""

    def __init__(self, verbose: bool) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.spinner import Spinner

        super().__init__(verbose)
        self._running: dict[str, tuple[str, float]] = {}
        self._console = Console(file=cast(IO[str], Talk()), highlight=False, emoji=False, markup=False)
        self._spinner = Spinner("dots")
        self._live = RichLive(
            self, console=self._console, transient=True, refresh_per_second=10, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._running.clear()
        self._live.__exit__(kind, error, trace)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the running steps; called by rich ten times a second, from a thread of its own."""
        from rich.text import Text

        now = time.monotonic()
        for step, (subject, since) in list(self._running.items()):
            tail = self._tails.get(step)
            frame = self._spinner.render(console.get_time())
            glyph = frame.plain if isinstance(frame, Text) else "-"
            line = Text.assemble(
                (glyph, "cyan"), f" {step:<10} {duration(now - since):>6}  ", subject, no_wrap=True, overflow="ellipsis"
            )
            yield line
            if tail:
                yield Text(f"    {tail[-1]}", style="dim", no_wrap=True, overflow="ellipsis")

    def _say(self, text: str) -> None:
        self._print(text, "yellow")

    def _started(self, event: StepStarted) -> None:
        self._running[event.step] = (clean(event.subject), time.monotonic())

    def _line(self, step: str, text: str) -> None:
        if self._verbose:
            self._print(f"    {step} | {text}" if len(self._running) > 1 else f"    {text}", "dim")

    def _notice(self, step: str, text: str) -> None:  # noqa: ARG002 - the steps stand right below
        self._print(f"  {text}", "yellow")

    def _finished(self, event: StepFinished) -> None:
        subject, _ = self._running.pop(event.step, ("", 0.0))
        for line in self._tail(event):
            self._print(f"    {line}", "dim")
        mark, style = _MARKS[event.outcome]
        detail = event.detail or ("stopped" if event.outcome is StepOutcome.FAILED else subject)
        self._step(mark, style, event, _DIGEST.sub(r"\1", clean(detail)))

    def _step(self, mark: str, style: str, event: StepFinished, detail: str) -> None:
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(no_wrap=True)
        row.add_column(no_wrap=True, justify="right")
        failed = event.outcome is StepOutcome.FAILED  # the error below says it all; a line is enough here
        row.add_column(overflow="ellipsis" if failed else "fold", no_wrap=failed)
        head = Text.assemble((mark, style), f" {event.step:<10}")
        row.add_row(head, Text(f"{duration(event.seconds):>6}", style="dim"), Text(detail))
        self._console.print(row)

    def _print(self, line: str, style: str) -> None:
        from rich.text import Text

        text: Text = Text(line, style=style)
        self._console.print(text, soft_wrap=True)


@contextmanager
def progress(verbose: bool | None = None) -> Iterator[Listener]:
    """Show a verb's steps on stderr while the block runs: live on a terminal, as plain lines elsewhere.

    Args:
        verbose: Show every line that the tools say; by default what ``--verbose`` says.

    Yields:
        The listener to give to :class:`kubernaut.Kubernaut`.
    """
    shown = is_verbose() if verbose is None else verbose
    display = Live(shown) if on_terminal(sys.stderr) else Plain(shown)
    with display, when_stopped(display.stopping):
        yield display
