"""Ends accepted operations whose server was killed before they began, seconds after that, also if they waited for a lock."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubernaut.deploy.accepting import end_abandoned, find_abandoned
from kubernaut.errors import IndexStale, KubernautError
from kubernaut.redact import redact
from kubernaut.server.audit import Audit

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.history.index import Index
    from kubernaut.history.operations import Operation

_log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


class AbandonedOperations:
    """Finds and ends abandoned operations, in a separate thread.

    The process that executes an operation renews it every second. It is ended when two looks, one interval apart, find it overdue
    and unchanged, so that a renewal that was only late is not overtaken.

    Args:
        cluster: Opens the cluster.
        index: Knows the accepted operations.
        audit: Records each operation that is ended.
        actor: The actor of the records.
        is_running: Returns whether this server executes an operation, by its ID.
        interval: Seconds between two looks.
    """

    def __init__(
        self,
        cluster: Callable[[], Cluster],
        index: Index,
        audit: Audit,
        *,
        actor: str,
        is_running: Callable[[str], bool],
        interval: float = 1.0,
    ) -> None:
        self._stopping = threading.Event()
        self._open, self._index, self._audit, self._actor = cluster, index, audit, actor
        self._is_running, self._interval = is_running, interval
        self._overdue: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="kubernaut-abandoned", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)

    def check(self) -> None:
        """Look at the accepted operations once, and end those that were overdue at the last look already."""
        try:
            self._index.check()
        except IndexStale:
            return
        accepted = [one for one in self._index.accepted() if not self._is_running(one.id)]
        self._overdue = {one.id: self._overdue[one.id] for one in accepted if one.id in self._overdue}
        for operation in accepted:
            if self._stopping.is_set():
                return
            try:
                self._look_at(operation)
            except KubernautError as error:  # tried again at the next look
                _log.warning("The accepted operation %s could not be looked at: %s", operation.id, error.message)

    def _look_at(self, operation: Operation) -> None:
        found = find_abandoned(operation, self._open())
        if found is None:
            self._overdue.pop(operation.id, None)
            return
        if self._overdue.get(found.id) != found.resource_version:
            self._overdue[found.id] = found.resource_version
            return
        del self._overdue[found.id]
        if end_abandoned(found, self._open()):
            release = f"{found.namespace}.{found.name}"
            self._audit.write(
                event="recovery", caller=self._actor, release=release, operation=found.id, outcome="interrupted", message=None
            )
            self._index.refresh(found.namespace, found.name)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self.check()
            except Exception:  # noqa: BLE001 - a defect must not end the thread; it is logged
                _log.error("The search for abandoned operations failed: %s", redact(traceback.format_exc()))
