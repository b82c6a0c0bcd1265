"""The one place where a failure becomes words and an exit status."""

from __future__ import annotations

import errno
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise

import click

from kubernaut.cli.output import abandon, print_json, say, settle
from kubernaut.cli.signals import Terminated, over, received
from kubernaut.cli.steps import already_shown
from kubernaut.errors import Interrupted, KubernautError, Usage

EXIT_STATUSES = {
    0: "done, or nothing to do",
    1: "a defect in kubernaut",
    2: "the command line is wrong",
    3: "bad input",
    4: "not found",
    5: "conflict, or locked",
    6: "failed and rolled back",
    7: "failed and kept",
    8: "a part is unreachable",
    9: "forbidden",
    10: "a CI build ended without success",
    129: "stopped by SIGHUP: the terminal is gone",
    130: "stopped by Ctrl-C",
    141: "whoever read stdout is gone",
    143: "stopped by SIGTERM",
}
PIPE_CLOSED = 141
_GONE = (errno.EPIPE, errno.EIO)
"""What writing to a pipe that is closed says, and to a terminal that is gone."""


def wants_json(arguments: Sequence[str]) -> bool:
    """Say whether ``-o json`` stands on a command line, even on one that cannot be parsed."""
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    together = any(word in ("-ojson", "-o=json", "--output=json") for word in words)
    return together or any(pair in (("-o", "json"), ("--output", "json")) for pair in pairwise(words))


def guarded(work: Callable[[], object], *, json: bool, verbose: bool) -> int:
    """Do the work, show how it failed if it did, and return the exit status."""
    try:
        status = _attempt(work, json=json, verbose=verbose)
    except KeyboardInterrupt as stop:  # it came while a failure was being told
        status = _stopped(stop, json)
    settle(sys.stdout)
    settle(sys.stderr)
    return status


def _attempt(work: Callable[[], object], *, json: bool, verbose: bool) -> int:
    try:
        _carry_out(work)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.UsageError as error:
        return _show(_usage(error), json)
    except click.ClickException as error:
        return _show(Usage(error.format_message()), json)
    except (KeyboardInterrupt, click.Abort) as stop:
        return _stopped(stop, json)
    except KubernautError as error:
        status, signalled = _show(error, json, trace=verbose), received()
        return signalled.exit_status if signalled else status
    except OSError as error:
        if error.errno not in _GONE or not _stdout_is_gone():
            return _unexpected(error, json, verbose)
        signalled = received()
        return _stopped(signalled, json) if signalled else PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the outermost guard: whatever nobody foresaw is shown as a defect, once, here
        return _unexpected(error, json, verbose)
    return 0


def _carry_out(work: Callable[[], object]) -> None:
    try:
        work()
        sys.stdout.flush()
    finally:
        over()  # a signal that stopped it has come as far as here


def _show(error: KubernautError, json: bool, *, trace: bool = False) -> int:
    if trace and error.__cause__ is not None:
        say("".join(traceback.format_exception(error)).rstrip())
    say(error.message, label="error", colour="red")
    lines = [line for detail in error.details for line in detail.splitlines() or [""]]
    for line in [] if already_shown(lines) else lines:
        say(f"  {line}")
    say(error.hint, label="hint", colour="cyan")
    if json:
        try:
            print_json({**error.problem(), "hint": error.hint})
        except OSError:  # the exit status still says it
            abandon(sys.stdout)
    return error.exit_status


def _usage(error: click.UsageError) -> Usage:
    message = error.format_message()
    if error.ctx is None:
        return Usage(message)
    return Usage(message, hint=f"`{error.ctx.command_path} --help` explains it.", details=[error.ctx.get_usage()])


def _stopped(stop: BaseException, json: bool) -> int:
    signalled = stop if isinstance(stop, Terminated) else received()  # click turns what comes at a question into its own Abort
    hint = " ".join(getattr(stop, "__notes__", ())) or None  # what the verb that was stopped says of it
    if signalled is not None:
        _show(Interrupted(str(signalled), hint=hint), json)
        return signalled.exit_status
    return _show(Interrupted("Stopped by Ctrl-C.", hint=hint), json)


def _unexpected(error: BaseException, json: bool, verbose: bool) -> int:
    if verbose:
        say("".join(traceback.format_exception(error)).rstrip())
    text = str(error).strip()
    return _show(KubernautError(f"Unexpected {type(error).__name__}" + (f": {text}" if text else ".")), json)


def _stdout_is_gone() -> bool:
    """Say whether it was our own stdout that broke, and if so keep Python from complaining about it at its end."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        return False
    abandon(sys.stdout)
    return True
