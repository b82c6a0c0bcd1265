"""Records, operations and locks changed by hand, by other tools or by newer versions; and denied writes."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.api_calls import call_api, merge_patch
from support.fault_chart import NAME
from support.faultpoints import lease, secret
from support.faults import FaultScenario
from support.waiting import until

pytestmark = pytest.mark.platform

LONG_AGO = "2026-01-01T00:00:00.000000Z"


def leases(scenario: FaultScenario) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{scenario.namespace}/leases"


def put_lease(scenario: FaultScenario, identity: str, annotations: Mapping[str, str] | None = None, **spec: Any) -> None:
    """Write a Lease as a holder on another machine may have left it."""
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": f"kubernaut.{NAME}",
            "labels": {"owner": "kubernaut", "name": NAME},
            "annotations": dict(annotations or {}),
        },
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": 30,
            "acquireTime": LONG_AGO,
            "renewTime": LONG_AGO,
            "leaseTransitions": 0,
            **spec,
        },
    }
    call_api(scenario.cluster, "POST", leases(scenario), body=body)


def patch_lease(scenario: FaultScenario, patch: Mapping[str, Any]) -> None:
    merge_patch(scenario.cluster, f"{leases(scenario)}/kubernaut.{NAME}", patch)


def edit(scenario: FaultScenario, revision: int, patch: Mapping[str, Any]) -> None:
    scenario.cluster.patch_secret(scenario.namespace, f"sh.helm.release.v1.{NAME}.v{revision}", patch)


# records


@pytest.mark.parametrize(("helm", "revision"), [("helm3", 1), ("helm4", 2), ("helm3", 3), ("helm4", 3)])
def test_deleted_record_is_survived(scenario: FaultScenario, helm: str, revision: int) -> None:
    subject = scenario.subject(helm)
    for text in "abc":
        subject.deploy(text)
    scenario.cluster.delete_secret(scenario.namespace, f"sh.helm.release.v1.{NAME}.v{revision}")
    scenario.watched.forget(revision)
    subject.deploy("d")
    assert scenario.text() == "d"
    assert scenario.check_settled().current.status == "deployed"


@pytest.mark.parametrize(
    ("helm", "label"), [("helm3", "superseded"), ("helm4", "superseded"), ("helm3", "pending-upgrade"), ("helm4", "nonsense")]
)
def test_wrong_label_is_corrected(scenario: FaultScenario, helm: str, label: str) -> None:
    """Helm believes the content; afterwards label and content agree."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    subject.deploy("b")
    edit(scenario, 2, {"metadata": {"labels": {"status": label}}})
    subject.deploy("c")
    assert scenario.text() == "c"
    now = scenario.look()
    assert now.current.status == "deployed"
    assert [one.revision for one in now.records if "deployed" in (one.label, one.status)] == [3]


def test_wrong_deployed_label_of_an_old_record(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    subject.deploy("b")
    edit(scenario, 1, {"metadata": {"labels": {"status": "deployed"}}})
    subject.deploy("c")
    now = scenario.look()
    assert now.current.status == "deployed"
    assert [one.revision for one in now.records if one.status == "deployed"] == [3]


@pytest.mark.parametrize(
    "payload", ["", "bm9uc2Vuc2U=", base64.b64encode(base64.b64encode(gzip.compress(b"[]", mtime=0))).decode()]
)
def test_unreadable_current_record_is_refused_and_named(scenario: FaultScenario, payload: str) -> None:
    """Helm cannot go on either: the Secret is named, and nothing is changed."""
    subject = scenario.subject()
    subject.deploy("a")
    subject.deploy("b")
    edit(scenario, 2, {"data": {"release": payload}})
    before = scenario.record(2)["metadata"]["resourceVersion"]
    for verb in ("deploy", "rollback", "delete", "restore"):
        ended = subject.run(*subject.verb(verb, "c"), status=5)
        assert f"sh.helm.release.v1.{NAME}.v2" in ended.stderr
    assert scenario.record(2)["metadata"]["resourceVersion"] == before
    assert scenario.look().lease is None
    assert scenario.text() == "b"


def test_unreadable_older_record_is_not_a_target(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    subject.deploy("b")
    edit(scenario, 1, {"data": {"release": "bm9uc2Vuc2U="}})
    subject.deploy("c")
    assert scenario.check_settled().current.status == "deployed"
    problem = subject.run("rollback", NAME, "-n", scenario.namespace, "--revision", "1", "-o", "json", status=5).problem()
    assert problem["code"] == "conflict"
    assert f"{NAME}.v1" in problem["detail"]


def test_too_large_release_is_refused(scenario: FaultScenario, helm: str, tmp_path: Path) -> None:
    """Refused before anything is applied; the running release is unchanged."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    files = []
    for number in range(2):  # each is as large as a file of values may be
        path = tmp_path / f"{number}.yaml"
        path.write_text(json.dumps({f"ballast{number}": base64.b64encode(os.urandom(750_000)).decode()}))
        files += ["--values", str(path)]
    ended = subject.deploy("b", *files, status=None)
    assert ended.status in (3, 7), ended
    assert re.search("[Tt]oo (long|large)|must (be|have) at most", ended.stderr), ended.stderr
    assert scenario.text() == "a"
    assert scenario.statuses() == ["deployed"]
    scenario.check_settled()
    subject.deploy("c")
    scenario.check_settled()


# operations


@pytest.mark.parametrize("began", ["2999-01-01T00:00:00Z", LONG_AGO])
def test_operation_of_a_newer_schema_is_left_untouched(scenario: FaultScenario, began: str) -> None:
    """It is never rewritten or pruned, because its result is unknown, and it blocks nothing."""
    subject = scenario.subject()
    subject.deploy("a")
    id = "01" + "z" * 24
    content = {"id": id, "verb": "promote", "namespace": scenario.namespace, "name": NAME, "future": [1], "startedAt": began}
    body = {
        "metadata": {
            "name": f"kubernaut.{id}",
            "labels": {"owner": "kubernaut", "name": NAME, "kubernaut/operation": id, "kubernaut/verb": "promote"},
        },
        "type": "kubernaut/operation.v2",
        "data": {"operation": base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()},
    }
    scenario.cluster.create_secret(scenario.namespace, body)
    before = scenario.cluster.get_secret(scenario.namespace, f"kubernaut.{id}")
    subject.deploy("b")
    subject.run(*subject.verb("rollback"))
    assert scenario.cluster.get_secret(scenario.namespace, f"kubernaut.{id}") == before
    assert subject.run("history", NAME, "-n", scenario.namespace).stdout.count("superseded") == 2
    assert scenario.look().current.status == "deployed"


@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_denied_operation_does_not_stop_the_verb(scenario: FaultScenario, verb: str) -> None:
    """The missing operation is reported; the verb is carried out all the same."""
    subject = scenario.subject()
    subject.deploy("a")
    subject.deploy("b")
    subject.proxy.answer(secret("POST", "kubernaut."), 403, times=9, message='secrets is forbidden: User "x" cannot create')
    ended = subject.run(*subject.verb(verb, "c"))
    assert "secrets is forbidden" in ended.stderr
    assert scenario.text() == {"deploy": "c", "rollback": "a", "delete": None}[verb]
    assert len(scenario.check_settled().operations) == 2


# the lock


def test_denied_leases_are_refused_with_the_needed_verbs(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    for method in ("POST", "GET", "PUT"):
        subject.proxy.answer(lease(method), 403, times=99, message='leases.coordination.k8s.io is forbidden: User "x" cannot')
    ended = subject.deploy("b", status=9)
    assert "leases.coordination.k8s.io" in ended.stderr
    assert {"get", "create", "update", "delete"} <= set(re.findall(r"\w+", ended.stderr)), "it names the verbs that are needed"
    assert len(scenario.check_settled().operations) == 1


def test_lock_of_a_dead_holder_elsewhere_is_taken_over(scenario: FaultScenario) -> None:
    """Its process cannot be checked: the Lease is watched until it expires, and then taken over."""
    subject = scenario.subject()
    subject.deploy("a")
    process = "00000000-0000-0000-0000-000000000000/4026531836/4026531834/elsewhere/1/1"
    put_lease(scenario, "bob@elsewhere/op", {"kubernaut/actor": "bob", "kubernaut/host": "elsewhere", "kubernaut/process": process})
    running = subject.start(*subject.verb("deploy", "b"))
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(25)
    ended = running.wait(30)
    assert ended.status == 0, ended
    assert {"bob", "elsewhere"} <= set(re.findall(r"\w+", ended.stderr))
    scenario.check_settled()


def test_lock_renewed_elsewhere_is_respected(scenario: FaultScenario) -> None:
    """The holder's clock is wrong, but it renews: a waiter sees that and names it."""
    subject = scenario.subject()
    subject.deploy("a")
    put_lease(scenario, "bob@elsewhere/op", {"kubernaut/actor": "bob", "kubernaut/host": "elsewhere"})
    running = subject.start(*subject.verb("deploy", "b"))
    until(lambda: subject.proxy.count(lease("GET")) > 1, "it watches the lock")
    patch_lease(scenario, {"spec": {"renewTime": "2026-01-01T00:00:05.000000Z"}})
    ended = running.wait(20)
    assert ended.status == 5
    assert {"bob", "elsewhere"} <= set(re.findall(r"\w+", ended.stderr))
    assert scenario.statuses() == ["deployed"]


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": ""},
        {"leaseDurationSeconds": 1, "renewTime": "2999-01-01T00:00:00.000000Z"},
        {"leaseDurationSeconds": 1, "renewTime": None, "acquireTime": None},
        {"leaseDurationSeconds": 1, "leaseTransitions": 2147483647},
    ],
)
def test_invalid_lock_is_taken_over(scenario: FaultScenario, spec: Mapping[str, Any]) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    put_lease(scenario, "x", {"kubernaut/process": "a/b/c", "kubernaut/actor": "\u202e", "kubernaut/build-url": "x" * 5000}, **spec)
    subject.deploy("b")
    scenario.check_settled()


@pytest.mark.parametrize("how", ["taken", "deleted"])
def test_lost_lock_stops_helm(scenario: FaultScenario, how: str) -> None:
    """Helm is stopped; the release is left to the new holder, whose lock is not touched."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held("mid-apply", *subject.verb("deploy", "b", "-o", "json"))
    if how == "taken":
        patch_lease(scenario, {"spec": {"holderIdentity": "eve"}, "metadata": {"annotations": {"kubernaut/actor": "eve"}}})
    else:
        call_api(scenario.cluster, "DELETE", f"{leases(scenario)}/kubernaut.{NAME}")
    ended = running.wait(30)
    subject.proxy.release("mid-apply", forward=False)
    assert ended.status == 5, ended
    assert ended.problem()["code"] == "lock_lost"
    assert ("eve" in ended.stderr) == (how == "taken")
    subject.settled()
    now = scenario.check()
    assert now.current.status == "failed"
    if how == "taken":
        assert now.lease is not None
        assert now.lease["spec"]["holderIdentity"] == "eve"
        call_api(scenario.cluster, "DELETE", f"{leases(scenario)}/kubernaut.{NAME}")
    subject.deploy("c")
    scenario.check_settled()


# the namespace


def test_terminating_namespace_is_a_conflict(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    path = f"/api/v1/namespaces/{scenario.namespace}/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stays", "finalizers": ["kubernaut.test/stays"]}}
    call_api(scenario.cluster, "POST", path, body=body)
    call_api(scenario.cluster, "DELETE", f"/api/v1/namespaces/{scenario.namespace}")
    try:
        until(lambda: scenario.statuses() == [], "the records are gone")
        problem = subject.deploy("b", "-o", "json", status=5).problem()
        assert problem["code"] == "conflict"
        assert "being terminated" in problem["detail"]
        assert problem["hint"]
    finally:
        merge_patch(scenario.cluster, f"{path}/stays", {"metadata": {"finalizers": None}})
