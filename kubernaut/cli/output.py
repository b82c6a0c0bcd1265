"""What leaves the command line: data on stdout, talk on stderr, and no secret on either.

Nothing else in this room writes to a stream. Rich is imported only when something is shown on a terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import click

from kubernaut.redact import environment_secrets, redact, redact_data

_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@cache
def _secrets() -> tuple[str, ...]:
    return environment_secrets(os.environ)


def clean(text: str) -> str:
    """Return the text as it may be shown: without secrets, and without codes that would steer the terminal."""
    return redact(_CONTROLS.sub("", text), _secrets())


def put(text: str, *, colour: str = "") -> None:
    """Write data to stdout, as whole lines; in a colour where colours are wanted."""
    shown = clean(text)
    sys.stdout.write((click.style(shown, fg=colour) if colour and in_colour(sys.stdout) else shown) + "\n")
    sys.stdout.flush()


def say(text: str, *, label: str = "", colour: str = "") -> None:
    """Write talk to stderr; when nobody listens, the work goes on."""
    if label:
        label = click.style(f"{label}: ", fg=colour, bold=True) if in_colour(sys.stderr) else f"{label}: "
    talk = Talk()
    talk.write(f"{label}{clean(text)}\n")
    talk.flush()


class Talk:
    """What stderr is at the moment, as a stream that never fails: a closed pipe, a terminal that is gone, a full disk.

    When nobody can listen any more, what is said leads nowhere, and the work goes on.
    """

    @property
    def encoding(self) -> str:
        """The encoding; rich chooses its characters by it."""
        return str(getattr(sys.stderr, "encoding", None) or "utf-8")

    def isatty(self) -> bool:
        """Say whether it is a terminal."""
        return bool(sys.stderr.isatty())

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(sys.stderr.fileno())

    def write(self, text: str) -> int:
        """Write, if anybody is there."""
        try:
            return sys.stderr.write(text)
        except OSError:
            abandon(sys.stderr)
            return len(text)

    def flush(self) -> None:
        """Send what was written, if anybody is there."""
        settle(sys.stderr)


def settle(stream: Any) -> None:
    """Write what a stream still holds; where that fails, let the stream lead nowhere."""
    try:
        stream.flush()
    except OSError:
        abandon(stream)


def abandon(stream: Any) -> None:
    """Let a stream whose reader has gone lead nowhere, so that Python does not stumble over it when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def print_json(obj: Any, *, one_line: bool = False) -> None:
    """Write a value to stdout as JSON.

    Args:
        obj: One of our models (written by alias, camelCase), a dictionary, a list, or a plain value.
        one_line: Write it on one line, for output that is one value a line.
    """
    sys.stdout.write(json_text(obj, one_line=one_line))
    sys.stdout.flush()


def json_text(obj: Any, *, one_line: bool = False) -> str:
    """Return a value as :func:`print_json` writes it."""
    data = redact_data(_plain(obj), _secrets())
    return json.dumps(data, ensure_ascii=False, indent=None if one_line else 2) + "\n"


def _plain(obj: Any) -> Any:
    if hasattr(obj, "model_dump"):
        return obj.model_dump(mode="json", by_alias=True)
    if isinstance(obj, dict):
        return {key: _plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(item) for item in obj]
    return obj


def on_terminal(stream: Any) -> bool:
    """Say whether a person reads the stream on a terminal that can do more than print lines."""
    return bool(stream.isatty()) and os.environ.get("TERM", "dumb") != "dumb"


def in_colour(stream: Any) -> bool:
    """Say whether colours are wanted there; see no-color.org."""
    return on_terminal(stream) and not os.environ.get("NO_COLOR")
