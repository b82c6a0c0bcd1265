"""The one place where a failure becomes words and an exit status."""

from __future__ import annotations

import select
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

import click

from kubernaut.cli.output import abandon, print_json, say
from kubernaut.cli.signals import Terminated
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
    129: "stopped by SIGHUP: the terminal is gone",
    130: "stopped by Ctrl-C",
    141: "whoever read stdout is gone",
    143: "stopped by SIGTERM",
}
PIPE_CLOSED = 141


def wants_json(arguments: Sequence[str]) -> bool:
    """Say whether ``-o json`` stands on a command line, even on one that cannot be parsed."""
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    together = any(word in ("-ojson", "-o=json", "--output=json") for word in words)
    return together or any(pair in (("-o", "json"), ("--output", "json")) for pair in pairwise(words))


def guarded(work: Callable[[], object], *, json: bool, verbose: bool) -> int:
    """Do the work, show how it failed if it did, and return the exit status."""
    try:
        work()
        sys.stdout.flush()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.UsageError as error:
        return _show(_usage(error), json)
    except click.ClickException as error:
        return _show(Usage(error.format_message()), json)
    except (KeyboardInterrupt, click.Abort) as stop:
        return _stopped(stop, json)
    except KubernautError as error:
        return _show(error, json, trace=verbose)
    except BrokenPipeError as error:
        return PIPE_CLOSED if _stdout_is_gone() else _unexpected(error, json, verbose)
    except Exception as error:  # noqa: BLE001 - the outermost guard: whatever nobody foresaw is shown as a defect, once, here
        return _unexpected(error, json, verbose)
    return 0


def _show(error: KubernautError, json: bool, *, trace: bool = False) -> int:
    if trace and error.__cause__ is not None:
        say("".join(traceback.format_exception(error)).rstrip())
    say(error.message, label="error", colour="red")
    lines = [line for detail in error.details for line in detail.splitlines() or [""]]
    for line in [] if already_shown(lines) else lines:
        say(f"  {line}")
    say(error.hint, label="hint", colour="cyan")
    if json:
        with suppress(BrokenPipeError):
            print_json(error.problem())
    return error.exit_status


def _usage(error: click.UsageError) -> Usage:
    message = error.format_message()
    if error.ctx is None:
        return Usage(message)
    return Usage(message, hint=f"`{error.ctx.command_path} --help` explains it.", details=[error.ctx.get_usage()])


def _stopped(stop: BaseException, json: bool) -> int:
    if isinstance(stop, Terminated):
        _show(Interrupted(str(stop)), json)
        return stop.exit_status
    return _show(Interrupted("Stopped by Ctrl-C."), json)


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
