"""``--to FILE``: what a verb made, as a file of the same JSON that ``-o json`` prints; whole, or not there at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from kubernaut.cli.output import json_text
from kubernaut.errors import BadInput

_HINT = "Name a file in a folder that exists and may be written to."
_AGAIN = "Once it can be, run the same command again: what is done already is left as it is."


class OutputFile:
    """A file that is written when all went well.

    What an earlier run left there is taken away before the work begins: whoever collects the file after a failure finds none, and
    not that of another run.

    Args:
        path: The file; ``None`` for none.
        dry_run: Nothing is written, and nothing taken away.

    Raises:
        UsageError: It is ``-``, which means stdout elsewhere.
        BadInput: It cannot be written.
    """

    def __init__(self, path: Path | None, *, dry_run: bool) -> None:
        if str(path) == "-":
            raise click.BadParameter("'-' is no file; `-o json` writes to stdout.", param_hint="--to")
        self._path = path
        self._dry_run = dry_run
        if path is not None:
            _check(path)
            if not dry_run:
                _remove(path)

    def write(self, made: Any) -> None:
        """Write a model, atomically. Raises: BadInput, where it cannot be written any more."""
        path = self._path
        if path is None or self._dry_run or made is None:
            return
        beside = _beside(path)
        try:
            with beside.open("x", encoding="utf-8") as file:
                file.write(json_text(made))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise BadInput(f"All was done, and {path} cannot be written: {error.strerror}.", hint=_AGAIN) from error
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def _check(path: Path) -> None:
    """Check that a file can be made there, by making one."""
    beside = _beside(path)
    try:
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise BadInput(f"--to {path} names something that is no file.", hint=_HINT)
        beside.open("x").close()
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")


def _refusal(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path} cannot be written: {error.strerror}.", hint=_HINT)
