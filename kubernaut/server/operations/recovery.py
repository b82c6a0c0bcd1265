"""Ends what dead servers left unfinished: at the start, and as long as the server runs.

One release at a time, in a thread of its own, and only what nobody works on. What fails is tried again, less and less often.
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

_SOON = 0.5
"""Seconds between two looks as long as the index is not there yet."""
_PATIENCE = 5.0
"""How many seconds a release that is being put in order is waited for at the end; the next server goes on with it."""


@dataclass
class _Failed:
    """What failed the last time, and when it is tried again."""

    message: str
    again: float
    delay: float


class Recovery:
    """Looks for what was left unfinished.

    Args:
        kubernaut: In whose name it is put in order.
        index: Knows what is unfinished.
        audit: Is told what was done, and once of each failure.
        busy: Says whether this server itself works on a release.
        interval: Seconds between two looks.
        slowest: The longest time, in seconds, until a failure is tried again.
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
        slowest: float = 300.0,
    ) -> None:
        self._stopping = threading.Event()
        self._kubernaut = kubernaut.acting(actor, stopped=self._stopping.is_set)
        self._index, self._audit, self._actor, self._busy = index, audit, actor, busy
        self._interval, self._slowest = interval, slowest
        self._failed: dict[Name, _Failed] = {}
        self._thread = threading.Thread(target=self._run, name="kubernaut-recovery", daemon=True)

    def start(self) -> None:
        """Begin to look; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; what cannot be ended in a moment is left to the next server."""
        self._stopping.set()
        self._thread.join(_PATIENCE)

    def look(self) -> bool:
        """Look once, and put in order what can be; say whether anything could be seen."""
        try:
            self._index.check()
        except IndexStale:
            return False  # `/readyz` says so
        unfinished = self._index.unfinished()
        self._failed = {name: failed for name, failed in self._failed.items() if name in unfinished}
        for name in sorted(unfinished):
            if self._stopping.is_set():
                break
            if self._due(name) and not self._busy(*name) and not self._settle(name):
                break
        return True

    def _run(self) -> None:
        seen = False
        while not self._stopping.wait(self._interval if seen else min(_SOON, self._interval)):
            try:
                seen = self.look()
            except Exception:  # noqa: BLE001 - a defect must not end the looking; it is logged
                _log.error("Looking for unfinished operations failed: %s", redact(traceback.format_exc()))
                seen = True

    def _due(self, name: Name) -> bool:
        failed = self._failed.get(name)
        return failed is None or time.monotonic() >= failed.again

    def _settle(self, name: Name) -> bool:
        """Put a release in order; say whether it makes sense to go on with the next one."""
        namespace, release = name
        try:
            settled = self._kubernaut.recover(release, namespace=namespace)
        except ReleaseLocked:
            return True  # somebody works on it, here or elsewhere
        except KubernautError as error:
            if not self._stopping.is_set():
                self._note(name, error)
            return not isinstance(error, Unreachable)
        self._failed.pop(name, None)
        if settled.changed:
            self._tell(name, settled.release.id if settled.release else None, "recovered", settled.plan.reason)
        return True

    def _note(self, name: Name, error: KubernautError) -> None:
        before = self._failed.get(name)
        delay = min(before.delay * 2 if before else self._interval, self._slowest)
        self._failed[name] = _Failed(error.message, time.monotonic() + delay, delay)
        if before is None or before.message != error.message:
            self._tell(name, None, error.code, error.message)

    def _tell(self, name: Name, release: str | None, outcome: str, message: str) -> None:
        self._audit.write(
            event="recovery", caller=self._actor, release=release or ".".join(name), outcome=outcome, message=message or None
        )
