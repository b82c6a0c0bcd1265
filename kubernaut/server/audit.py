"""Who did what to which release, and what came of it: one JSON object a line, on stderr or in a file that only grows.

Secrets are taken out, JSON escapes what would steer a terminal, and endless values are cut. A line that cannot be written, because
the disk is full, breaks nothing: it is counted, and told once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernaut.adapters import secret_files
from kubernaut.errors import SettingInvalid
from kubernaut.redact import redact_data

FIELDS = ("time", "event", "caller", "method", "route", "release", "operation", "outcome", "status", "request")
"""The fields that come first, in this order; those that a line does not have are left out."""

_LONGEST_VALUE = 1000
_WHAT = "audit log"

_log = logging.getLogger(__name__)


class Audit:
    """Writes audit lines; for many threads at once.

    Args:
        write: Takes a whole line, as bytes with its end; raises ``OSError`` where it cannot.
        secrets: Values that nobody may see.
        lost: Is told of each line that could not be written.
    """

    def __init__(
        self, write: Callable[[bytes], None], *, secrets: Iterable[str] = (), lost: Callable[[], None] = lambda: None
    ) -> None:
        self._write = write
        self._secrets = tuple(secrets)
        self._lost = lost
        self._told = False
        self._lock = threading.Lock()

    def write(self, **fields: Any) -> None:
        """Write a line; the time is added, and what is ``None`` is left out."""
        line = self._line(fields)
        with self._lock:
            try:
                self._write(line)
            except (OSError, ValueError) as error:  # ValueError: stderr is closed
                self._lost()
                if not self._told:
                    self._told = True
                    _log.error("Audit lines cannot be written (%s); they are lost until they can.", _reason(error))
            else:
                self._told = False

    def _line(self, fields: dict[str, Any]) -> bytes:
        said = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        ordered = {name: said[name] for name in (*FIELDS, *sorted(set(said) - set(FIELDS))) if said.get(name) is not None}
        shown = {name: _cut(value) for name, value in redact_data(ordered, self._secrets).items()}
        return json.dumps(shown, default=str).encode("ascii") + b"\n"


class AuditFile:
    """A file of mode 0600 that lines are added to; a line that was cut off half-way is ended before the next.

    Raises:
        SettingInvalid: It cannot be opened, or others may use it.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, secret_files.MODE)
        except OSError as error:
            raise SettingInvalid(f"The {_WHAT} {path} cannot be opened: {error.strerror}.", hint="Name another place.") from error
        try:
            secret_files.check(self._descriptor, path, _WHAT)
        except SettingInvalid:
            self.close()
            raise
        self._torn = False

    def write(self, line: bytes) -> None:
        """Add a line. Raises: OSError."""
        rest = b"\n" + line if self._torn else line
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
            self._torn = bool(rest)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def to_stderr(line: bytes) -> None:
    """Write a line to stderr. Raises: OSError, ValueError."""
    sys.stderr.write(line.decode("ascii"))
    sys.stderr.flush()


def _cut(value: Any) -> Any:
    return value[:_LONGEST_VALUE] + "…" if isinstance(value, str) and len(value) > _LONGEST_VALUE else value


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
