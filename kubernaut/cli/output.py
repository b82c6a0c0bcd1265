"""The output of a command: data on stdout, messages on stderr, and the file of ``--to``; all without secrets.

No other module of this package writes to a stream, apart from rich's display of progress.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import click

from kubernaut.errors import BadInput
from kubernaut.redact import environment_secrets, redact, redact_data

_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HINT = "Name a file in an existing, writable folder."


@cache
def _secrets() -> tuple[str, ...]:
    return environment_secrets(os.environ)


def sanitize(text: str) -> str:
    """Return a text without secrets and terminal control codes."""
    return redact(_CONTROLS.sub("", text), _secrets())


def print_data(text: str, *, colour: str = "") -> None:
    """Write lines of data to stdout, in a colour where stdout shows colours."""
    shown = sanitize(text)
    sys.stdout.write((click.style(shown, fg=colour) if colour and uses_colour(sys.stdout) else shown) + "\n")
    sys.stdout.flush()


def print_message(text: str, *, label: str = "", colour: str = "") -> None:
    """Write a message to stderr, after a label in a colour; a closed stderr is ignored."""
    if label:
        label = click.style(f"{label}: ", fg=colour, bold=True) if uses_colour(sys.stderr) else f"{label}: "
    stream = StderrStream()
    stream.write(f"{label}{sanitize(text)}\n")
    stream.flush()


class StderrStream:
    """The current stderr as a stream that never fails: output to a closed pipe, a closed terminal or a full disk is discarded."""

    @property
    def encoding(self) -> str:
        """The encoding, by which rich chooses its characters."""
        return str(getattr(sys.stderr, "encoding", None) or "utf-8")

    def isatty(self) -> bool:
        """Return whether stderr is a terminal."""
        return bool(sys.stderr.isatty())

    def fileno(self) -> int:
        """Return the file descriptor of stderr."""
        return int(sys.stderr.fileno())

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            return sys.stderr.write(text)
        except OSError:
            discard_output(sys.stderr)
            return len(text)

    def flush(self) -> None:
        """Flush stderr."""
        flush_or_discard(sys.stderr)


def flush_or_discard(stream: Any) -> None:
    """Flush a stream; if that fails, discard its output from now on."""
    try:
        stream.flush()
    except OSError:
        discard_output(stream)


def discard_output(stream: Any) -> None:
    """Redirect a broken stream to the null device, so that Python's flush at exit does not fail."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def print_json(obj: Any, *, one_line: bool = False) -> None:
    """Write a value to stdout as JSON.

    Args:
        obj: A model (written by alias, in camelCase), a dictionary, a list, or a plain value.
        one_line: Write it on one line, for JSON Lines.
    """
    sys.stdout.write(format_json(obj, one_line=one_line))
    sys.stdout.flush()


def format_json(obj: Any, *, one_line: bool = False) -> str:
    """Return the text that :func:`print_json` writes."""
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


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal that understands control codes."""
    return bool(stream.isatty()) and os.environ.get("TERM", "dumb") != "dumb"


def uses_colour(stream: Any) -> bool:
    """Return whether a stream shows colours; see no-color.org."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


class OutputFile:
    """The file of ``--to``: the JSON of a result, written atomically when the command succeeds.

    An existing file is removed at once, so that after a failure no file of an earlier run is left to be picked up.

    Args:
        path: The file; ``None`` for none.
        dry_run: Write and remove nothing.

    Raises:
        click.BadParameter: The path is ``-``.
        BadInput: The file cannot be written.
    """

    def __init__(self, path: Path | None, *, dry_run: bool) -> None:
        if str(path) == "-":
            raise click.BadParameter("'-' is not a file; use `-o json` to write to stdout.", param_hint="--to")
        self._path = path
        self._dry_run = dry_run
        if path is not None:
            _check_writable(path)
            if not dry_run:
                _remove(path)

    def write(self, result: Any) -> None:
        """Write a model. Raises: BadInput (the file can no longer be written)."""
        path = self._path
        if path is None or self._dry_run or result is None:
            return
        temporary = _temporary(path)
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(format_json(result))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            hint = "Make the file writable and run the same command again; completed work is not repeated."
            raise BadInput(f"The command succeeded, but {path} cannot be written: {error.strerror}.", hint=hint) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _check_writable(path: Path) -> None:
    """Check that a file can be created beside a path, by creating one. Raises: BadInput."""
    temporary = _temporary(path)
    try:
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise BadInput(f"--to {path} is not a regular file.", hint=_HINT)
        temporary.open("x").close()
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")


def _not_writable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path} cannot be written: {error.strerror}.", hint=_HINT)
