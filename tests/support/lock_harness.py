"""A cluster, a lock and a clock that only waiting moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.ci import CiBuild
from kubernaut.deploy.lock.acquire import HeldLock, hold
from kubernaut.deploy.lock.lease import Holder, LockTiming, decode_lease, lease_manifest, new_holder
from kubernaut.errors import ReleaseLocked
from kubernaut.testing.cluster import FakeCluster

NAME = "kubernaut.web"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADA = new_holder("01ada", "deploy", "ada", host="ci-7", process="", build=CiBuild(url="http://ci/7"))
BOB = new_holder("02bob", "deploy", "bob", host="ci-9", process="")
EVE = new_holder("03eve", "rollback", "eve", host="ci-3", process="")
HOUR = 3600.0


@dataclass
class LockHarness:
    """A cluster, and a clock that sleeping moves; planned actions run when their time comes."""

    cluster: FakeCluster = field(default_factory=lambda: FakeCluster("demo"))
    seconds: float = 500.0
    planned: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def passed(self) -> float:
        return self.seconds - 500.0

    @property
    def timing(self) -> LockTiming:
        return LockTiming(renew_seconds=5.0, clock=lambda: self.seconds, wall=self.wall, sleep=self.sleep)

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1, seconds
        assert self.passed < 1000, "it waits for ever"
        self.seconds += seconds
        while self.planned and self.planned[0][0] <= self.passed:
            self.planned.pop(0)[1]()

    def at(self, passed: float, action: Callable[[], Any]) -> None:
        self.planned.append((passed, action))
        self.planned.sort(key=lambda item: item[0])

    def put(self, holder: Holder, *, ago: float = 0.0, transitions: int = 0) -> None:
        """Let a holder have the lock, renewed so many seconds ago by the holder's clock."""
        time = self.wall() - timedelta(seconds=ago)
        old = self.lease
        replaces = decode_lease(old) if old else None
        made = lease_manifest(
            "demo", "web", holder, seconds=30, acquired=time, renewed=time, transitions=transitions, replaces=replaces
        )
        if old is None:
            self.cluster.create_lease("demo", made)
        else:
            self.cluster.replace_lease("demo", made)

    def renews(self, holder: Holder, *, ago: float = 0.0, until: float = 900.0) -> None:
        """Let a holder have the lock and renew it every five seconds until then."""
        self.put(holder, ago=ago)
        for passed in range(5, int(until) + 1, 5):
            self.at(passed, lambda: self.put(holder, ago=ago))

    def release(self) -> None:
        self.cluster.delete_lease("demo", NAME)

    @property
    def lease(self) -> dict[str, Any] | None:
        return self.cluster._leases.get(("demo", NAME))

    @contextmanager
    def hold(self, holder: Holder = BOB, *, timeout: float = 0.0, force: bool = False, **timing: Any) -> Iterator[HeldLock]:
        known = {"timeout": timeout, "notify": self.notices.append, "timing": replace(self.timing, **timing), "force": force}
        with hold(self.cluster, "demo", "web", holder, **known) as held:  # type: ignore[arg-type]
            found = self.lease
            assert found is not None
            assert (decode_lease(found).holder or ADA).identity == holder.identity
            yield held

    def locked(self, *, timeout: float = 0.0) -> ReleaseLocked:
        """Want the lock, and be refused."""
        with pytest.raises(ReleaseLocked) as caught, self.hold(timeout=timeout):
            raise AssertionError("two hold it")
        assert self.lease is not None, "it is not the refused one's to delete"
        return caught.value
