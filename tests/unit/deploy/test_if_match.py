"""Requests that name an ETag, and the refusal of a release that has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import DeployHarness
from support.messages import facts
from support.planning import EXPIRED, LIVE, UNCHANGED, outcome, plan
from support.records import history, own, set_aside

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.errors import ReleaseChanged, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.testing.cluster import FakeCluster

OLD = own(1, "superseded", "one", config={"was": "other"})
CURRENT = own(2, "deployed", "two", config={"is": "another"})
DELETED = own(2, "uninstalled", "two")
KNOWN = history(OLD, CURRENT)


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


@pytest.mark.parametrize(
    ("verb", "more", "etag"),
    [
        ("deploy", {}, CURRENT.etag),
        ("delete", {}, CURRENT.etag),
        ("delete", {"revision": 2}, CURRENT.etag),
        ("rollback", {}, CURRENT.etag),
        ("rollback", {"revision": 1}, OLD.etag),
        ("restore", {}, CURRENT.etag),
    ],
)
def test_if_match_refuses_a_changed_record(verb: str, more: dict[str, Any], etag: str) -> None:
    assert outcome(verb, KNOWN, if_match=etag, **more) == outcome(verb, KNOWN, **more)
    with pytest.raises(ReleaseChanged, match=facts("demo.hello.v2")) as caught:
        plan(verb, KNOWN, if_match="another-1", **more)
    problem = caught.value.problem()
    assert (problem["status"], problem["current"], problem["etag"]) == (412, "demo.hello.v2", CURRENT.etag)


def test_if_match_of_a_rollback_names_its_target() -> None:
    assert outcome("rollback", KNOWN, revision=1, if_match=CURRENT.etag) is ReleaseChanged


def test_stale_etag_is_refused_before_the_lock_and_without_an_effect() -> None:
    assert outcome("delete", KNOWN, LIVE, if_match="x") is ReleaseChanged
    assert outcome("delete", history(OLD, DELETED), if_match="x") is ReleaseChanged
    assert outcome("delete", history(OLD, DELETED), if_match=DELETED.etag) == UNCHANGED
    assert outcome("restore", KNOWN, EXPIRED, if_match="x") is ReleaseChanged


def test_missing_release_is_reported_before_if_match() -> None:
    assert outcome("delete", history(), if_match="x") is ReleaseNotFound
    assert outcome("rollback", KNOWN, revision=7, if_match="x") is ReleaseNotFound
    assert outcome("delete", KNOWN, revision=1, if_match="x") is ReleaseNotCurrent
    with pytest.raises(ReleaseChanged, match=facts("demo.hello")) as caught:
        plan("deploy", history(), if_match="x")
    assert "current" not in caught.value.problem()


def test_not_current_names_the_current_release() -> None:
    with pytest.raises(ReleaseNotCurrent) as caught:
        plan("delete", KNOWN, revision=1)
    assert caught.value.problem()["current"] == "demo.hello.v2"


def test_if_match_accepts_the_etag_of_a_copy_set_aside() -> None:
    copy = set_aside(2, "deployed")
    assert outcome("delete", history(OLD, copy, aside=(copy,)), if_match=copy.etag) == "recreate-record, helm-uninstall"


def etag(harness: DeployHarness, revision: int | None = None) -> str:
    found = harness.history.find(revision) if revision else harness.history.current
    assert found is not None
    return found.etag


def test_if_match_accepts_the_shown_etag(harness: DeployHarness) -> None:
    _, _, release = harness.deploy()
    assert release is not None
    assert release.etag == etag(harness)
    _, _, second = harness.deploy("1.1.0", if_match=release.etag)
    assert second is not None
    with pytest.raises(ReleaseChanged):
        harness.deploy("1.2.0", if_match=release.etag)
    execute(RollbackRequest("demo", "hello", revision=1, if_match=etag(harness, 1)), context=harness.context)
    execute(UninstallRequest("demo", "hello", if_match=etag(harness)), context=harness.context)
    assert harness.statuses[-1] == "uninstalled"


def test_if_match_notices_a_change_before_the_lock_is_acquired(harness: DeployHarness) -> None:
    harness.deploy()
    known, taken = etag(harness), harness.cluster.create_lease

    def create_lease(namespace: str, made: Any) -> Any:
        harness.cluster.create_lease = taken  # type: ignore[method-assign]
        harness.deploy("1.1.0")
        return taken(namespace, made)

    harness.cluster.create_lease = create_lease  # type: ignore[method-assign]
    with pytest.raises(ReleaseChanged):
        execute(UninstallRequest("demo", "hello", if_match=known), context=harness.context)
    assert harness.statuses[-1] == "deployed"
    assert isinstance(harness.cluster, FakeCluster)
    assert harness.cluster._leases == {}


def test_own_reconciliation_does_not_break_if_match(harness: DeployHarness) -> None:
    harness.deploy()
    harness.leave_a_deploy()
    assert harness.statuses[-1] == "pending-upgrade"
    _, changed, _ = harness.deploy("1.2.0", if_match=etag(harness))
    assert changed
