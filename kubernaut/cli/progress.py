"""The display of progress on stderr: the steps of a command while they run, live on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

from kubernaut.cli.command import is_verbose
from kubernaut.cli.output import StderrStream, is_terminal, print_message, sanitize
from kubernaut.cli.signals import on_signal
from kubernaut.events import Event, Listener, LogLine, Notice, StepFinished, StepOutcome, StepStarted, WorkloadProgress

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

TAIL = 20
"""The number of lines shown of a failed step."""
WORKLOADS = 8
"""The number of workloads shown of a running step."""

_HELM_STEPS = frozenset(("deploy", "rollback", "restore", "delete"))
STOPPING = "Stopping: {}. Further signals are ignored."
STOPPING_HELM = "Helm is recording the state of the release"
STOPPING_STEP = "the current step is cleaning up"

_MARKS = {
    StepOutcome.DONE: ("✓", "green"),
    StepOutcome.UNCHANGED: ("=", "cyan"),
    StepOutcome.PLANNED: ("~", "yellow"),
    StepOutcome.FAILED: ("✗", "red"),
}

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
"""Shortened on a terminal; whole in logs, in JSON and in results."""

_shown: set[str] = set()


def already_shown(lines: Iterable[str]) -> bool:
    """Return whether all these lines were shown below a failed step, so that its error need not repeat them."""
    return all(sanitize(line).strip() in _shown for line in lines)


def format_duration(seconds: float) -> str:
    """Return a duration as ``0.4s``, ``12.3s``, ``4m05s`` or ``1h02m``."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


class _Display:
    """The base of both displays: the running steps, and the last lines of each."""

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
                text = sanitize(event.text).rstrip()
                self._tails.setdefault(event.step, deque(maxlen=TAIL)).append(text)
                self._line(event.step, text)
            elif isinstance(event, Notice):
                self._notice(event.step, sanitize(event.text))
            elif isinstance(event, WorkloadProgress):
                self._workload(event)
            else:
                self._finished(event)

    def stopping(self) -> None:
        """Show that a signal was received, and what kubernaut waits for; without a running step it does not wait."""
        with self._lock:
            if self._tails:
                self._message(STOPPING.format(STOPPING_STEP if _HELM_STEPS.isdisjoint(self._tails) else STOPPING_HELM))

    def _tail(self, event: StepFinished) -> Sequence[str]:
        """Return the lines to show below a failed step; none below one that a signal stopped, which has no detail."""
        tail = [line for line in self._tails.pop(event.step, ()) if line.strip()]
        if event.outcome is not StepOutcome.FAILED or not event.detail:
            return ()
        _shown.update(line.strip() for line in tail)
        return () if self._verbose else tail

    def _message(self, text: str) -> None:
        raise NotImplementedError

    def _started(self, event: StepStarted) -> None:
        raise NotImplementedError

    def _line(self, step: str, text: str) -> None:
        raise NotImplementedError

    def _notice(self, step: str, text: str) -> None:
        raise NotImplementedError

    def _workload(self, event: WorkloadProgress) -> None:
        raise NotImplementedError

    def _finished(self, event: StepFinished) -> None:
        raise NotImplementedError


class PlainDisplay(_Display):
    """One line when a step starts and one when it ends; for CI logs and files."""

    def _message(self, text: str) -> None:
        print_message(text)

    def _started(self, event: StepStarted) -> None:
        print_message(f"{event.step:<10} started    {event.subject}".rstrip())

    def _line(self, step: str, text: str) -> None:
        if self._verbose:
            print_message(f"{step:<10} | {text}")

    def _notice(self, step: str, text: str) -> None:
        print_message(f"{step:<10} {text}")

    def _workload(self, event: WorkloadProgress) -> None:
        print_message(f"{event.step:<10} {sanitize(event.workload)}: {sanitize(event.text)}")

    def _finished(self, event: StepFinished) -> None:
        for line in self._tail(event):
            print_message(f"{event.step:<10} | {line}")
        detail = event.detail or ("stopped" if event.outcome is StepOutcome.FAILED else "")
        print_message(f"{event.step:<10} {event.outcome.value:<10} {format_duration(event.seconds):>6}  {detail}".rstrip())


def _workload_lines(workloads: Sequence[tuple[WorkloadProgress, float]], now: float) -> Iterator[Text]:
    """Yield a line per workload; of many, those that are waited for, and how many more there are."""
    from rich.text import Text

    shown = [one for one in workloads if not one[0].ready] if len(workloads) > WORKLOADS else workloads
    for event, since in shown[:WORKLOADS]:
        text = f"{sanitize(event.workload)}: {sanitize(event.text)}"
        if event.ready:
            yield Text.assemble("    ", ("✓ ", "green"), (text, "dim"), no_wrap=True, overflow="ellipsis")
        else:
            yield Text(f"      {text} {now - since:.0f} s", no_wrap=True, overflow="ellipsis")
    if len(shown) > WORKLOADS:
        yield Text(f"      and {len(shown) - WORKLOADS} more", style="dim")


class LiveDisplay(_Display):
    """Finished steps as lines; below them each running step with a spinner, its time and its last line of output."""

    def __init__(self, verbose: bool) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        super().__init__(verbose)
        self._running: dict[str, tuple[str, float]] = {}
        self._workloads: dict[str, dict[str, tuple[WorkloadProgress, float]]] = {}
        self._console = Console(file=cast(IO[str], StderrStream()), highlight=False, emoji=False, markup=False)
        self._spinner = Spinner("dots")
        self._live = Live(
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
        """Draw the running steps; rich calls this ten times a second, in its own thread."""
        from rich.text import Text

        now = time.monotonic()
        for step, (subject, since) in list(self._running.items()):
            tail = self._tails.get(step)
            frame = self._spinner.render(console.get_time())
            glyph = frame.plain if isinstance(frame, Text) else "-"
            head = f" {step:<10} {format_duration(now - since):>6}  "
            yield Text.assemble((glyph, "cyan"), head, subject, no_wrap=True, overflow="ellipsis")
            workloads = self._workloads.get(step)
            if workloads:
                yield from _workload_lines(list(workloads.values()), now)
            elif tail:
                yield Text(f"    {tail[-1]}", style="dim", no_wrap=True, overflow="ellipsis")

    def _message(self, text: str) -> None:
        self._print(text, "yellow")

    def _started(self, event: StepStarted) -> None:
        self._running[event.step] = (sanitize(event.subject), time.monotonic())

    def _line(self, step: str, text: str) -> None:
        if self._verbose:
            self._print(f"    {step} | {text}" if len(self._running) > 1 else f"    {text}", "dim")

    def _notice(self, step: str, text: str) -> None:  # noqa: ARG002 - the running steps are right below
        self._print(f"  {text}", "yellow")

    def _workload(self, event: WorkloadProgress) -> None:
        self._workloads.setdefault(event.step, {})[event.workload] = event, time.monotonic()

    def _finished(self, event: StepFinished) -> None:
        subject, _ = self._running.pop(event.step, ("", 0.0))
        self._workloads.pop(event.step, None)
        for line in self._tail(event):
            self._print(f"    {line}", "dim")
        detail = event.detail or ("stopped" if event.outcome is StepOutcome.FAILED else subject)
        self._print_step(event, _DIGEST.sub(r"\1", sanitize(detail)))

    def _print_step(self, event: StepFinished, detail: str) -> None:
        from rich.table import Table
        from rich.text import Text

        head = Text.assemble(_MARKS[event.outcome], f" {event.step:<10}")
        duration = Text(f"{format_duration(event.seconds):>6}", style="dim")
        if event.outcome is StepOutcome.FAILED:  # one line is enough: the error follows
            self._console.print(Text.assemble(head, "  ", duration, "  ", detail), no_wrap=True, overflow="ellipsis")
            return
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(no_wrap=True, min_width=head.cell_len)
        row.add_column(no_wrap=True, min_width=duration.cell_len, justify="right")
        row.add_column(overflow="fold")
        row.add_row(head, duration, Text(detail))
        self._console.print(row)

    def _print(self, line: str, style: str) -> None:
        from rich.text import Text

        text: Text = Text(line, style=style)
        self._console.print(text, soft_wrap=True)


@contextmanager
def show_progress(verbose: bool | None = None, *, watching: bool = False) -> Iterator[Listener]:
    """Show the steps of a command on stderr while the block runs.

    Args:
        verbose: Show every line of the tools' output; by default as ``--verbose`` says.
        watching: Whether the steps are those of another process, so that a signal has nothing to stop.

    Yields:
        The listener for :class:`kubernaut.Kubernaut`.
    """
    shown = is_verbose() if verbose is None else verbose
    display = LiveDisplay(shown) if is_terminal(sys.stderr) else PlainDisplay(shown)
    with display, nullcontext() if watching else on_signal(display.stopping):
        yield display
