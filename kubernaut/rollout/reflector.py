"""The threads that read a cluster into a :class:`~kubernaut.rollout.live.LiveStore`.

A :class:`Reflector` lists a kind and watches it; an :class:`ObjectReader` reads single objects by name. A watch that is cut
resumes, one that has expired begins with a new list, and a kind that may not be read is tried again after a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.adapters.kube_http import ResourceExpired, Watch
from kubernaut.adapters.kube_resources import Resource
from kubernaut.adapters.kube_threads import SHORTEST_WATCH, OpenWatch, repeat
from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, KubernautError, NotFound
from kubernaut.rollout.live import LiveStore, Source
from kubernaut.rollout.needs import KindNeed, ObjectNeed
from kubernaut.rollout.objects import Object, is_condition

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_PAGE_SIZE = 500


@dataclass(frozen=True)
class Timings:
    """Intervals in seconds.

    Attributes:
        watch: After which the server ends a watch; a silent connection is noticed three seconds later.
        request: To wait for a response.
        denied: Between two tries to read what may not be read.
        poll: Between two readings where a watch is not possible.
        settled: Between two readings of an object whose condition is true.
        first_pause: Before the first retry; it doubles with each retry, and a random part is added.
        longest_pause: The longest such pause.
    """

    watch: int = 25
    request: float = 10.0
    denied: float = 30.0
    poll: float = 2.0
    settled: float = 10.0
    first_pause: float = 0.1
    longest_pause: float = 5.0


class _Reader(threading.Thread):
    """A daemon thread that repeats :meth:`step` until it is stopped, with growing pauses after failures."""

    def __init__(self, name: str, cluster: Cluster, live: LiveStore, timings: Timings) -> None:
        super().__init__(name=f"kubernaut-rollout-{name}", daemon=True)
        self.stopping = threading.Event()
        self._cluster = cluster
        self._live = live
        self._timings = timings

    @property
    def sources(self) -> Sequence[Source]:
        """The resource that it reads."""
        raise NotImplementedError

    def step(self) -> None:
        """Read once; a failure that is raised is retried after a pause."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Read everything anew, in the calling thread. Raises: ClusterUnreachable, ClusterDenied (credentials refused)."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the thread to end."""
        self.stopping.set()

    def run(self) -> None:
        """Repeat the step until stopped."""
        timings = self._timings
        try:
            repeat(self.step, self.stopping, first_pause=timings.first_pause, longest_pause=timings.longest_pause)
        except Exception as defect:  # noqa: BLE001 - a thread has no caller; the snapshots show it
            for source in self.sources:
                self._live.lose(source, f"the thread {self.name} has ended: {type(defect).__name__} {defect}")


class Reflector(_Reader):
    """Lists and watches a kind in a namespace.

    Args:
        cluster: The cluster.
        live: Receives what it reads.
        need: The kind and the namespace.
        names: The names of the release's objects; what mentions none of them is not decoded.
        timings: Intervals.
    """

    def __init__(self, cluster: Cluster, live: LiveStore, need: KindNeed, names: Collection[str], timings: Timings) -> None:
        super().__init__(f"{need.resource.plural}-{need.namespace}", cluster, live, timings)
        self.source = Source(need.resource.kind, need.namespace)
        self._need = need
        self._names = names
        self._version = ""
        self._watch = OpenWatch(self.stopping)

    @property
    def sources(self) -> Sequence[Source]:
        """The resource that it reads."""
        return (self.source,)

    def refresh(self) -> None:
        """List the kind anew. Raises: ClusterUnreachable, ClusterDenied (credentials refused)."""
        try:
            self._list()
        except ResourceExpired as error:
            raise ClusterUnreachable(f"The list of {self._need.resource.plural} expired before its last page.") from error
        except (ClusterDenied, NotFound) as error:
            if not _denied(self._live, self.source, self._need.resource, error):
                raise

    def step(self) -> None:
        """Watch until the server ends it, after a list where no resource version is known."""
        began, heard = time.monotonic(), False
        try:
            if not self._version:
                self._version = self._list()
            watch = self._open()
            if watch is None:  # no right to watch
                self._version = ""
                self.stopping.wait(self._timings.poll)
                return
            for event in watch:
                self._live.apply(self.source, event)
                self._version = event.resource_version or self._version
                heard = heard or event.type != "BOOKMARK"
            if not heard and time.monotonic() - began < SHORTEST_WATCH and not self.stopping.is_set():
                raise ClusterUnreachable("The cluster ends each watch at once.")
        except ResourceExpired:
            self._version = ""
            self._live.restart(self.source)
            raise
        except KubernautError as error:
            refused = isinstance(error, ClusterDenied | NotFound)
            if refused and _denied(self._live, self.source, self._need.resource, error):
                self._version = ""
                self.stopping.wait(self._timings.denied)
                return
            self._live.lose(self.source, error.message)
            if not heard:
                raise

    def stop(self) -> None:
        """Ask the thread to end, and close its watch."""
        self._watch.stop()

    def _list(self) -> str:
        """List the kind, and return the list's resource version."""
        resource, items, token = self._need.resource, list[Object](), ""
        while True:
            page = self._cluster.list_objects(
                resource, self._need.namespace, limit=_PAGE_SIZE, continue_token=token, timeout=self._timings.request
            )
            items += self._live.relevant(resource.kind, resource.api_version, page.items)
            token = page.continue_token
            if not token or self.stopping.is_set():
                break
        self._live.server_clock.note(self._cluster.server_time)
        self._live.replace(self.source, items, page.resource_version)
        return page.resource_version

    def _open(self) -> Watch | None:
        try:
            watch = self._cluster.watch_objects(
                self._need.resource,
                self._need.namespace,
                resource_version=self._version,
                seconds=self._timings.watch,
                mentioning=self._names,
            )
        except ClusterDenied as error:
            if error.unauthenticated:
                raise
            return None
        self._live.server_clock.note(self._cluster.server_time)
        self._watch.hold(watch)
        self._live.hear(self.source)
        return watch


class ObjectReader(_Reader):
    """Reads objects by name, again and again: a watch of their kind could carry megabytes of others.

    Args:
        cluster: The cluster.
        live: Receives what it reads.
        needs: The objects.
        timings: Intervals.
    """

    def __init__(self, cluster: Cluster, live: LiveStore, needs: Sequence[ObjectNeed], timings: Timings) -> None:
        super().__init__("objects", cluster, live, timings)
        self._needs = {Source(need.key.kind, need.key.namespace, need.key.group): need for need in needs}
        self._due = dict.fromkeys(self._needs, 0.0)
        self._resources: dict[tuple[str, str], Resource] = {}

    @property
    def sources(self) -> Sequence[Source]:
        """The resource that it reads."""
        return tuple(self._needs)

    def refresh(self) -> None:
        """Read all objects anew. Raises: ClusterUnreachable, ClusterDenied (credentials refused)."""
        for source in self._needs:
            self._read(source)

    def step(self) -> None:
        """Read the objects that are due; one that cannot be read does not delay the others."""
        for source in self._needs:
            if self._due[source] <= time.monotonic() and not self.stopping.is_set():
                try:
                    pause = self._read(source)
                except KubernautError as error:
                    self._live.lose(source, error.message)
                    pause = self._timings.poll
                self._due[source] = time.monotonic() + pause
        self.stopping.wait(max(0.0, min(self._due.values()) - time.monotonic()))

    def _read(self, source: Source) -> float:
        """Read an object, and return the seconds until it is due again."""
        need = self._needs[source]
        what = f"cannot read {need.key} in {need.key.namespace}"
        try:
            resource = self._find(need)
        except (NotFound, BadInput):  # its definition may be about to be created
            self._live.deny(source, f"{what}: the cluster does not serve {need.key.kind} of {need.api_version}")
            return self._timings.poll
        try:
            item = self._cluster.get_object(resource, need.key.namespace, need.key.name, timeout=self._timings.request)
        except ClusterDenied as error:
            if not _denied(self._live, source, resource, error):
                raise
            return self._timings.denied
        except BadInput as error:
            self._live.deny(source, f"{what}: {error.message}")
            return self._timings.denied
        self._live.server_clock.note(self._cluster.server_time)
        self._live.put(source, need, item)
        settled = item is not None and (is_condition(item, "Ready") or is_condition(item, "Established"))
        return self._timings.settled if settled else self._timings.poll

    def _find(self, need: ObjectNeed) -> Resource:
        kind = (need.api_version, need.key.kind)
        if kind not in self._resources:
            self._resources[kind] = self._cluster.find_resource(*kind)
        return self._resources[kind]


def _denied(live: LiveStore, source: Source, resource: Resource, error: KubernautError) -> bool:
    """Note that a kind cannot be read; ``False`` if the credentials have expired since it was read, so that what is known stays."""
    unauthenticated = isinstance(error, ClusterDenied) and error.unauthenticated
    if unauthenticated and source.listed and not source.denied:
        return False
    if isinstance(error, NotFound):
        why = f"the cluster does not serve {resource.full_name}"
    else:
        why = "the cluster does not accept the credentials" if unauthenticated else f"no right to list {resource.plural}"
    live.deny(source, f"cannot read {resource.plural} in {source.namespace}: {why}")
    return True
