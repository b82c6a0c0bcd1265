"""The audit log: one JSON line per write request, operation and recovery, on stderr or appended to a file.

Secrets are masked, control characters are escaped and long values are truncated. A line that cannot be written, such as on a full
disk, does not fail the request: it is counted, and the first of a series is logged.
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
"""The leading fields of a line, in this order; missing ones are omitted."""

_MAX_VALUE_LENGTH = 1000
_KIND = "audit log"

_log = logging.getLogger(__name__)


class Audit:
    """Writes audit lines. Thread-safe.

    Args:
        write: Writes one line, with its newline; raises ``OSError`` or ``ValueError``.
        secrets: Secret values to mask.
        on_lost: Called for each line that could not be written.
    """

    def __init__(
        self, write: Callable[[bytes], None], *, secrets: Iterable[str] = (), on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._write = write
        self._secrets = tuple(secrets)
        self._on_lost = on_lost
        self._failing = False
        self._lock = threading.Lock()

    def write(self, **fields: Any) -> None:
        """Write a line; adds the time, and omits fields that are ``None``."""
        line = self._line(fields)
        with self._lock:
            try:
                self._write(line)
            except (OSError, ValueError) as error:  # ValueError: stderr is closed
                self._on_lost()
                if not self._failing:
                    self._failing = True
                    _log.error("Audit lines cannot be written (%s) and are lost until this is fixed.", _reason(error))
            else:
                self._failing = False

    def _line(self, fields: dict[str, Any]) -> bytes:
        data = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        ordered = {name: data[name] for name in (*FIELDS, *sorted(set(data) - set(FIELDS))) if data.get(name) is not None}
        redacted = {name: _truncate(value) for name, value in redact_data(ordered, self._secrets).items()}
        return json.dumps(redacted, default=str).encode("ascii") + b"\n"


class AuditFile:
    """A file of mode 0600 that lines are appended to; a partly written line is terminated before the next one.

    Raises:
        SettingInvalid: The file cannot be opened, or other users may use it.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, secret_files.MODE)
        except OSError as error:
            raise SettingInvalid(f"The {_KIND} {path} cannot be opened: {error.strerror}.", hint="Choose another file.") from error
        try:
            secret_files.check(self._descriptor, path, _KIND)
        except SettingInvalid:
            self.close()
            raise
        self._partial = False

    def write(self, line: bytes) -> None:
        """Append a line. Raises: OSError."""
        rest = b"\n" + line if self._partial else line
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
            self._partial = bool(rest)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def to_stderr(line: bytes) -> None:
    """Write a line to stderr. Raises: OSError, ValueError."""
    sys.stderr.write(line.decode("ascii"))
    sys.stderr.flush()


def _truncate(value: Any) -> Any:
    return value[:_MAX_VALUE_LENGTH] + "…" if isinstance(value, str) and len(value) > _MAX_VALUE_LENGTH else value


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
