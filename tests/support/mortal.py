"""``kill -9`` in memory: a cluster whose client dies at one of its writes, and the lock that it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubernaut.adapters.process import process_identity
from kubernaut.deploy.execution import DeployContext
from kubernaut.errors import ClusterUnreachable
from kubernaut.testing.cluster import FakeCluster
from support.deploy_harness import DeployHarness
from support.states import DEAD


class Killed(BaseException):
    """``kill -9``: nothing is done any more, no exception is handled."""


class MortalCluster(FakeCluster):
    """A cluster whose client dies at one of its writes, before its effect or before the answer, and sends nothing more.

    Attributes:
        left: After how many more writes; negative for never.
        answered: Whether the last write has its effect.
        dead: Whether it has died.
        applies: Whether each object that Helm applies or removes is a write.
        meanwhile: Called before a lock is acquired.
    """

    left, answered, dead, applies = -1, False, False, False
    meanwhile: Callable[[], None] | None = None

    def die_in_main_thread(self) -> bool:
        """Die if the cluster has ended this process; also while the main thread only waits for others."""
        if self.dead and threading.current_thread() is threading.main_thread():
            raise Killed
        return False

    def revive(self) -> None:
        """Let the next client live."""
        self.left, self.dead = -1, False

    def put(self, object: Mapping[str, Any], namespace: str = "default") -> dict[str, Any]:
        """Create or replace an object, as Helm does."""
        with self._asked(f"put {object['kind']}") if self.applies else nullcontext():
            return super().put(object, namespace)

    def remove(self, object: Mapping[str, Any]) -> None:
        """Delete an object, as Helm does."""
        with self._asked(f"remove {object['kind']}") if self.applies else nullcontext():
            super().remove(object)

    @contextmanager
    def _asked(self, request: str) -> Iterator[None]:
        if self.dead:  # the threads that watch a rollout die with their process, and raise nothing anywhere
            self.die_in_main_thread()
            raise ClusterUnreachable("killed")
        if self.meanwhile and request.startswith("create lease "):
            interfere, self.meanwhile = self.meanwhile, None
            interfere()
        writes = not request.startswith(("get ", "list ", "watch "))
        dies = writes and self.left == 0
        if writes:
            self.left -= 1
        self.dead = dies
        if dies and not self.answered:
            raise Killed
        with super()._asked(request):
            yield
        if dies:
            raise Killed


class MortalHarness(DeployHarness):
    """A release whose kubernaut can be killed."""

    @property
    def mortal(self) -> MortalCluster:
        """The cluster."""
        assert isinstance(self.cluster, MortalCluster)
        return self.cluster

    @property
    def context(self) -> DeployContext:
        return replace(super().context, stopped=self.mortal.die_in_main_thread)


def leave_lock(cluster: FakeCluster, namespace: str, name: str, lock: str = DEAD) -> None:
    """Leave the Lease of a release as one does whose process is gone, or is on a machine of which nothing is known."""
    found = cluster.get_lease(namespace, f"kubernaut.{name}")
    if found is not None:
        gone = process_identity().rpartition("/")[0] + "/1"
        found["metadata"]["annotations"]["kubernaut/process"] = gone if lock == DEAD else "elsewhere/1"
        found["spec"]["renewTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        cluster.replace_lease(namespace, found)
