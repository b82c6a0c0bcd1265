"""Recovers the operations that crashed servers left unfinished, at the start and while the server runs.

One release at a time, in a separate thread, and only releases without a running operation. Failures are retried with back-off.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.errors import IndexStale, KubernautError, ReleaseLocked, Unreachable
from kubernaut.redact import redact
from kubernaut.server.audit import Audit

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.index import Index

Name = tuple[str, str]

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""Seconds between two attempts while the index is not ready."""
_STOP_SECONDS = 5.0
"""How long a stopping server waits for the recovery of a release; the next server continues it."""


@dataclass
class _Failure:
    """The last failure of a release; ``retry_at`` is on the monotonic clock, ``delay`` in seconds."""

    message: str
    retry_at: float
    delay: float


class Recovery:
    """Finds and recovers unfinished operations.

    Args:
        kubernaut: The library.
        index: Knows the releases with unfinished operations.
        audit: Records each recovery, and each new failure once.
        actor: The actor of the recoveries.
        busy: Returns whether this server runs an operation on a release (namespace, name).
        interval: Seconds between two checks.
        max_delay: The longest delay, in seconds, until a failure is retried.
    """

    def __init__(
        self,
        kubernaut: Kubernaut,
        index: Index,
        audit: Audit,
        *,
        actor: str,
        busy: Callable[[str, str], bool],
        interval: float = 10.0,
        max_delay: float = 300.0,
    ) -> None:
        self._stopping = threading.Event()
        self._kubernaut = kubernaut.acting(actor, stopped=self._stopping.is_set)
        self._index, self._audit, self._actor, self._busy = index, audit, actor, busy
        self._interval, self._max_delay = interval, max_delay
        self._failures: dict[Name, _Failure] = {}
        self._thread = threading.Thread(target=self._run, name="kubernaut-recovery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; a recovery that takes longer is left to the next server."""
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)

    def check(self) -> bool:
        """Recover the releases that are due; return whether the index was ready."""
        try:
            self._index.check()
        except IndexStale:
            return False  # `/readyz` reports it
        unfinished = self._index.unfinished()
        self._failures = {name: failure for name, failure in self._failures.items() if name in unfinished}
        for name in sorted(unfinished):
            if self._stopping.is_set():
                break
            if self._due(name) and not self._busy(*name) and not self._recover(name):
                break
        return True

    def _run(self) -> None:
        ready = False
        while not self._stopping.wait(self._interval if ready else min(_RETRY_SECONDS, self._interval)):
            try:
                ready = self.check()
            except Exception:  # noqa: BLE001 - a defect must not end the thread; it is logged
                _log.error("The recovery of unfinished operations failed: %s", redact(traceback.format_exc()))
                ready = True

    def _due(self, name: Name) -> bool:
        failure = self._failures.get(name)
        return failure is None or time.monotonic() >= failure.retry_at

    def _recover(self, name: Name) -> bool:
        """Recover a release; return whether to continue with the next one."""
        namespace, release = name
        try:
            recovered = self._kubernaut.recover(release, namespace=namespace)
        except ReleaseLocked:
            return True  # an operation runs on it, here or elsewhere
        except KubernautError as error:
            if not self._stopping.is_set():
                self._record_failure(name, error)
            return not isinstance(error, Unreachable)
        self._failures.pop(name, None)
        if recovered.changed:
            self._write_audit(name, recovered.release.id if recovered.release else None, "recovered", recovered.plan.reason)
        return True

    def _record_failure(self, name: Name, error: KubernautError) -> None:
        before = self._failures.get(name)
        delay = min(before.delay * 2 if before else self._interval, self._max_delay)
        self._failures[name] = _Failure(error.message, time.monotonic() + delay, delay)
        if before is None or before.message != error.message:
            self._write_audit(name, None, error.code, error.message)

    def _write_audit(self, name: Name, release: str | None, outcome: str, message: str) -> None:
        self._audit.write(
            event="recovery", caller=self._actor, release=release or ".".join(name), outcome=outcome, message=message or None
        )
