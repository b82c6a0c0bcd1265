"""The harness itself: requests through the proxy work, and each fault really happens: one that does not tests nothing."""

from __future__ import annotations

import http.client
import json
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from support.faultpoints import Request, secret
from support.faults import FaultScenario
from support.orphan import write_wrapper
from support.waiting import until

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import ClusterDenied, ClusterUnreachable

pytestmark = pytest.mark.platform

STEPS = ("before-record", "after-record", "mid-apply", "before-final-write", "after-final-write", "before-end")
UNFINISHED = {"deploy": "pending-upgrade", "rollback": "pending-rollback", "delete": "uninstalling", "restore": "pending-rollback"}
FINISHED = {"delete": "uninstalled"}


def test_each_verb_passes_its_fault_points_in_order(scenario: FaultScenario, helm: str) -> None:
    """The state of the cluster at each point matches the point's name."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    for verb, unfinished in UNFINISHED.items():
        for point in ("before-operation", "after-operation", *STEPS):
            subject.proxy.hold(point)
        before = scenario.look()
        running = subject.start(*subject.verb(verb))
        for point, added in (("before-operation", 0), ("after-operation", 1)):
            subject.proxy.wait_for(point)
            assert len(scenario.look().operations) == len(before.operations) + added
            subject.proxy.release(point)
        for point in STEPS:
            request = subject.proxy.wait_for(point)
            assert ("Helm/" in request.agent) == (point != "before-end")
            begun, ended = point not in ("before-record",), point in ("after-final-write", "before-end")
            expected = FINISHED.get(verb, "deployed") if ended else unfinished if begun else before.current.status
            assert scenario.look().current.status == expected, (verb, point)
            subject.proxy.release(point)
        assert running.wait().status == 0
        scenario.check_settled()


def test_chart_with_a_hook_and_a_workload(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.deploy("a", "--set", f"image={subject.image}")
    running = subject.start(*subject.verb("deploy", "b"), "--set", "slow=60")
    until(lambda: scenario.statuses() == ["deployed", "pending-upgrade"], "Helm waits for its hook")
    running.signal(signal.SIGTERM)
    running.wait()
    assert scenario.statuses() == ["deployed", "failed"]


def test_request_or_answer_is_lost(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    for point, statuses in (("before-record", ["deployed"]), ("after-record", ["deployed", "pending-upgrade"])):
        subject.proxy.hold(point)
        running = subject.start(*subject.verb("deploy"))
        subject.proxy.wait_for(point)
        running.kill()
        subject.proxy.release(point, forward=False)
        until(lambda: not subject.processes(), "Helm has ended too")
        assert scenario.statuses() == statuses


def test_proxy_cuts_off_answers_and_delays(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    cluster, impatient = Cluster(str(subject.proxy.kubeconfig)), Cluster(str(subject.proxy.kubeconfig), timeout=1)
    assert cluster.namespace_exists("default")
    with subject.proxy.away(), pytest.raises(ClusterUnreachable, match="refused"):
        cluster.namespace_exists("default")
    assert cluster.namespace_exists("default")
    lists = secret("GET", "")
    subject.proxy.answer(lists, 403, message="secrets is forbidden")
    with pytest.raises(ClusterDenied, match="secrets is forbidden"):
        cluster.list_secrets("default", {})
    subject.proxy.answer(lists, 503, times=2)
    assert list(cluster.list_secrets("default", {})) == []
    assert subject.proxy.count(lists) == 4
    subject.proxy.delay(lists, 5)
    with pytest.raises(ClusterUnreachable, match=r"\b1(\.0)? s"):
        impatient.list_secrets("default", {})
    subject.proxy.undo()
    assert list(cluster.list_secrets("default", {})) == []
    impatient.close()
    cluster.close()


def test_watch_breaks_when_the_proxy_is_cut_off(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    with closing(http.client.HTTPConnection("127.0.0.1", subject.proxy.port, timeout=10)) as connection:
        streams: list[http.client.HTTPResponse] = []

        def opens() -> bool:
            connection.close()
            connection.request("GET", "/api/v1/namespaces?watch=true")
            streams.append(connection.getresponse())
            return bool(json.loads(streams[-1].readline())["type"] == "ADDED")

        until(opens, "the watch streams: an API server that has just started begins with an error")
        subject.proxy.cut()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            streams[-1].read()


def test_subject_gets_no_credentials(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    assert json.loads(subject.proxy.kubeconfig.read_text())["users"][0]["user"] == {}
    assert not list(subject.folder.rglob("*.pem"))


def test_orphaned_helm_outlives_kubernaut(scenario: FaultScenario, helm: str) -> None:
    wrapper = write_wrapper(scenario.folder, scenario.helms[helm])
    subject = scenario.subject(str(wrapper.helm))
    subject.deploy("a")
    subject.proxy.hold("before-final-write")
    running = subject.start(*subject.verb("deploy"))
    subject.proxy.wait_for("before-final-write")
    running.kill()
    pid = wrapper.pids[-1]
    assert Path(f"/proc/{pid}/comm").read_text().strip() == "helm"
    os.kill(pid, 0)
    assert scenario.look().current.status == "pending-upgrade"
    subject.proxy.release("before-final-write")
    until(lambda: not Path(f"/proc/{pid}").exists(), "the orphan has ended")
    assert scenario.look().current.status == "deployed"


def test_requests_are_parsed() -> None:
    create = Request("POST", "/api/v1/namespaces/demo/secrets", body=b'{"metadata":{"name":"kubernaut.1"}}')
    assert (create.namespace, create.resource, create.name, create.writes) == ("demo", "secrets", "kubernaut.1", True)
    lease = Request("PUT", "/apis/coordination.k8s.io/v1/namespaces/demo/leases/kubernaut.app")
    assert (lease.namespace, lease.resource, lease.name) == ("demo", "leases", "kubernaut.app")
    assert Request("GET", "/version").resource == ""
    assert not Request("PATCH", "/api/v1/namespaces/demo/configmaps/app", "dryRun=All").writes
