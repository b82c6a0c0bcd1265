"""Watches of releases, which clients share: one that asks for the same release joins the watch that runs.

A watch changes nothing. It runs in a thread while clients ask for its events, and is stopped when none has for a while.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.errors import KubernautError, ServerBusy, ServerStopping
from kubernaut.events import NumberedEvent
from kubernaut.history.operations import new_operation_id
from kubernaut.history.releases import ReleaseId
from kubernaut.history.replay import WatchPage
from kubernaut.redact import environment_secrets, redact, redact_data
from kubernaut.server.operations.workers import RunningWork

if TYPE_CHECKING:
    from kubernaut.server.routing import ServerContext

_log = logging.getLogger(__name__)

_STOPPING = "The server is shutting down and ends its watches."

IDLE_SECONDS = 30.0
"""How long a watch goes on without a client."""
MOST = 8
"""The number of watches that run at once."""


@dataclass
class ReleaseWatch:
    """The watch of a release.

    Attributes:
        id: Identifies it on this server.
        release: The ID of the release.
        timeout: Seconds that the release may take to become ready; ``None`` for the server's setting.
        work: Its events, and in the end its result.
        asked_until: Until when, on the monotonic clock, a client waits or may still wait.
    """

    id: str
    release: str
    timeout: float | None
    work: RunningWork
    asked_until: float

    def is_idle(self) -> bool:
        """Return whether no client has asked for a while."""
        return time.monotonic() - self.asked_until > IDLE_SECONDS


class ReleaseWatches:
    """The watches of a server.

    Args:
        context: The server's parts.
    """

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._secrets = environment_secrets(context.kubernaut.settings.environment)
        self._watches: dict[str, ReleaseWatch] = {}
        self._lock = threading.Lock()

    def page(self, release: str, timeout: float | None, *, id: str | None, after: int, wait: float) -> WatchPage:
        """Return the events after a number; without any, wait for one or for the end.

        Args:
            release: The ID of the release.
            timeout: Seconds that the release may take to become ready; ``None`` for the server's setting.
            id: The watch that the client has events of. Of another one, all events are returned.
            after: The number of the last event that the client has.
            wait: Seconds to wait.

        Raises:
            ServerBusy: Too many watches run.
            ServerStopping: The server is shutting down.
            KubernautError: The release cannot be watched.
        """
        watch = self._find(release, timeout, id, wait)
        after = after if watch.id == id else 0
        found, finished = watch.work.wait_for_events(after, wait)
        result = watch.work.result if finished else None
        if self._context.workers.stopping and isinstance(result, KubernautError):
            raise ServerStopping(_STOPPING)
        if isinstance(result, KubernautError) and not watch.work.events():
            raise copy.copy(result)  # several requests may share it
        items = tuple(NumberedEvent(seq=seq, **dict(event)) for seq, event in found)
        page = WatchPage(watch=watch.id, items=items, next=items[-1].seq if items else after, finished=finished)
        if isinstance(result, KubernautError):
            return page.model_copy(update={"problem": redact_data(result.problem(), self._secrets)})
        if result is not None:
            page = page.model_copy(update={"release": result.release, "plan": result.plan, "changed": result.changed})
        return page

    def _find(self, release: str, timeout: float | None, id: str | None, wait: float) -> ReleaseWatch:
        """Return the watch with an ID, else the one of the release that runs, else a new one."""
        if self._context.workers.stopping:
            raise ServerStopping(_STOPPING)
        with self._lock:
            kept = (one for one in self._watches.values() if not one.work.stopped() and not (one.work.done and one.is_idle()))
            self._watches = {one.id: one for one in kept}
            running = [one for one in self._watches.values() if not one.work.done]
            same = (one for one in running if (one.release, one.timeout) == (release, timeout))
            watch = self._watches.get(id or "") or next(same, None)
            if watch is None:
                if len(running) >= MOST:
                    raise ServerBusy(f"{MOST} releases are watched, the limit of this server.")
                watch = ReleaseWatch(new_operation_id(), release, timeout, RunningWork(self._secrets), time.monotonic())
                self._watches[watch.id] = watch
                threading.Thread(target=self._run, args=(watch,), name=f"watch {release}", daemon=True).start()
            watch.asked_until = max(watch.asked_until, time.monotonic() + wait)
            return watch

    def _run(self, watch: ReleaseWatch) -> None:
        def stopped() -> bool:
            if watch.is_idle() or self._context.workers.stopping:
                watch.work.stop()
            return watch.work.stopped()

        kubernaut = self._context.kubernaut
        acting = kubernaut.acting(kubernaut.settings.actor, listener=watch.work.record, stopped=stopped)
        try:
            watch.work.set_result(acting.watch(watch.release, timeout=watch.timeout))
        except KubernautError as error:
            watch.work.set_result(error)
        except Exception as defect:  # noqa: BLE001 - becomes the watch's error, and is logged
            _log.error("The watch of %s failed unexpectedly: %s", watch.release, redact(traceback.format_exc(), self._secrets))
            message = f"The watch failed unexpectedly ({type(defect).__name__}); the server's log has the details."
            watch.work.set_result(KubernautError(message))
        finally:
            self._refresh(ReleaseId.parse(watch.release))
            watch.work.set_done()

    def _refresh(self, release: ReleaseId) -> None:
        """Let every list show the result before the watch counts as finished."""
        with suppress(KubernautError):  # the index reports its age and goes on trying
            self._context.index.refresh(release.namespace, release.name)
