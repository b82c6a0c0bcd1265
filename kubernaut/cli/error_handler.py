"""Runs a command, reports its failure on stderr (with ``-o json`` also as a problem on stdout), and returns the exit status."""

from __future__ import annotations

import errno
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise

import click

from kubernaut.cli.output import discard_output, flush_or_discard, print_json, print_message
from kubernaut.cli.progress import already_shown
from kubernaut.cli.signals import Terminated, finish, received_signal
from kubernaut.errors import Interrupted, KubernautError, Usage

PIPE_CLOSED = 141
_LONGEST_LINE = 500
_CLOSED = (errno.EPIPE, errno.EIO)
"""The errors of a write to a closed pipe and to a closed terminal."""


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether ``-o json`` is on a command line, even on one that cannot be parsed."""
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    joined = any(word in ("-ojson", "-o=json", "--output=json") for word in words)
    return joined or any(pair in (("-o", "json"), ("--output", "json")) for pair in pairwise(words))


def handle_errors(work: Callable[[], object], *, json: bool, verbose: bool) -> int:
    """Run a function, report its failure, and return the exit status.

    Args:
        work: The function.
        json: Write failures to stdout too, as problems.
        verbose: Add tracebacks.
    """
    try:
        status = _run(work, json=json, verbose=verbose)
    except KeyboardInterrupt as stop:  # raised while a failure was reported
        status = _report_stop(stop, json)
    flush_or_discard(sys.stdout)
    flush_or_discard(sys.stderr)
    return status


def _run(work: Callable[[], object], *, json: bool, verbose: bool) -> int:
    try:
        _work(work)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.UsageError as error:
        return _report(_usage(error), json)
    except click.ClickException as error:
        return _report(Usage(error.format_message()), json)
    except (KeyboardInterrupt, click.Abort) as stop:
        return _report_stop(stop, json)
    except KubernautError as error:
        status, signalled = _report(error, json, trace=verbose), received_signal()
        return signalled.exit_status if signalled else status
    except OSError as error:
        if error.errno not in _CLOSED or not _stdout_is_closed():
            return _report_unexpected(error, json, verbose)
        signalled = received_signal()
        return _report_stop(signalled, json) if signalled else PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the outermost handler reports every other exception as a defect
        return _report_unexpected(error, json, verbose)
    return 0


def _work(work: Callable[[], object]) -> None:
    try:
        work()
        sys.stdout.flush()
    finally:
        finish()


def _report(error: KubernautError, json: bool, *, trace: bool = False) -> int:
    if trace and error.__cause__ is not None:
        print_message("".join(traceback.format_exception(error)).rstrip())
    print_message(error.message if trace else _brief(error.message), label="error", colour="red")
    for line in _lines(error.details):
        print_message(f"  {line if trace else _brief(line)}")
    print_message(error.hint, label="hint", colour="cyan")
    if json:
        try:
            print_json({**error.problem(), "hint": error.hint})
        except OSError:  # the exit status reports the failure
            discard_output(sys.stdout)
    return error.exit_status


def _lines(details: Sequence[str]) -> list[str]:
    """Return the lines of details without those that were shown below a failed step: all, or those after a detail's first line."""
    split = [detail.splitlines() or [""] for detail in details]
    if already_shown(line for lines in split for line in lines):
        return []
    return [line for first, *rest in split for line in (first, *(() if already_shown(rest) else rest))]


def _brief(text: str) -> str:
    """Return a text without the objects that the API server repeats in its messages; ``--verbose`` shows them."""
    if len(text) <= _LONGEST_LINE:
        return text
    from kubernaut.rollout.problems import without_walls

    shown = without_walls(text)
    return shown if len(shown) <= _LONGEST_LINE else f"{shown[:_LONGEST_LINE]}… (--verbose shows the rest)"


def _usage(error: click.UsageError) -> Usage:
    message = error.format_message()
    if error.ctx is None:
        return Usage(message)
    return Usage(message, hint=f"See `{error.ctx.command_path} --help`.", details=[error.ctx.get_usage()])


def _report_stop(stop: BaseException, json: bool) -> int:
    signalled = stop if isinstance(stop, Terminated) else received_signal()  # click's prompt raises Abort instead
    hint = " ".join(getattr(stop, "__notes__", ())) or None  # notes by the stopped operation
    if signalled is not None:
        _report(Interrupted(str(signalled), hint=hint), json)
        return signalled.exit_status
    return _report(Interrupted("Stopped by Ctrl-C.", hint=hint), json)


def _report_unexpected(error: BaseException, json: bool, verbose: bool) -> int:
    if verbose:
        print_message("".join(traceback.format_exception(error)).rstrip())
    text = str(error).strip()
    return _report(KubernautError(f"Unexpected {type(error).__name__}" + (f": {text}" if text else ".")), json)


def _stdout_is_closed() -> bool:
    """Return whether the reader of stdout has gone; discard its output then, so that Python's flush at exit does not fail."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        return False
    discard_output(sys.stdout)
    return True
