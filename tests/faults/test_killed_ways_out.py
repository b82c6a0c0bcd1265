"""``kill -9`` on the way out of a state, with both Helms: the same command again leads out.

``tests/unit/deploy/test_killed_ways_out.py`` has every write of each way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.api_calls import call_api, merge_patch
from support.fault_chart import NAME
from support.faults import FaultScenario, Subject
from support.waiting import until
from support.widgets import Widgets

from kubernaut.adapters.kube_resources import RESOURCES
from kubernaut.errors import KubernautError
from kubernaut.history.store import HistoryStore
from kubernaut.rollout.health_reader import HealthReader
from kubernaut.settings import load_settings

pytestmark = pytest.mark.platform


def web(scenario: FaultScenario) -> dict[str, Any] | None:
    return scenario.cluster.get_object(RESOURCES["Deployment"], scenario.namespace, "web")


@pytest.mark.parametrize("point", ["after-record", "after-final-write"])
def test_clean_up_after_a_kept_failure_that_was_killed_is_finished(scenario: FaultScenario, helm: str, point: str) -> None:
    subject = scenario.subject(helm, KUBERNAUT_UNPROBED_TIME="0", KUBERNAUT_IMAGE_FAILURES="1")
    runs = ("--set", f"image={subject.image}")
    subject.deploy("a", *runs)
    failing = ("--set", f"image={subject.image}-missing", "--set", "replicas=2", "--set", "extra=leaks")
    subject.deploy("b", *failing, "--on-failure", "keep", status=7)
    again = subject.verb("deploy", "c", *runs)
    subject.killed(point, *again)
    subject.settled()
    subject.run(*again)
    found = web(scenario)
    assert found is not None
    assert (found["spec"]["replicas"], scenario.text()) == (1, "c")
    assert scenario.text("extra") is None
    scenario.check_settled()


def test_objects_of_a_killed_deploy_are_removed_by_the_next(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    subject.killed("before-final-write", *subject.verb("deploy", "b", "--set", "extra=leaks"))
    subject.settled()
    assert scenario.text("extra") == "leaks"
    subject.deploy("c")
    assert (scenario.text(), scenario.text("extra")) == ("c", None)
    scenario.check_settled()


def changed_by_others(scenario: FaultScenario, subject: Subject) -> None:
    subject.deploy("a")
    merge_patch(scenario.cluster, config_map(scenario, NAME), {"data": {"text": "theirs"}}, manager="kubectl-edit")


def deleted_by_others(scenario: FaultScenario, subject: Subject) -> None:
    subject.deploy("a", "--set", "extra=mine")
    call_api(scenario.cluster, "DELETE", config_map(scenario, NAME))


def object_of_others(scenario: FaultScenario, subject: Subject) -> None:
    subject.deploy("b")
    body = {"metadata": {"name": "extra"}, "data": {"text": "theirs"}}
    call_api(scenario.cluster, "POST", config_map(scenario, "").rstrip("/"), body=body)


def failed_rollback(scenario: FaultScenario, subject: Subject) -> None:
    for text in "abc":
        subject.deploy(text, "--set", "hook=pre-rollback")
    subject.run(*subject.verb("rollback", "", "--revision", "1"), status=7)


WAYS = {
    "changed by others": (changed_by_others, ["deploy", "a", "--on-conflict", "take"]),
    "deleted by others": (deleted_by_others, ["deploy", "a", "--set", "extra=mine"]),
    "object of others": (object_of_others, ["deploy", "a", "--set", "extra=mine", "--take-ownership"]),
    "failed rollback": (failed_rollback, ["rollback", "", "--no-hooks"]),
}


def config_map(scenario: FaultScenario, name: str) -> str:
    return f"/api/v1/namespaces/{scenario.namespace}/configmaps/{name}"


@pytest.mark.parametrize("state", WAYS)
def test_way_out_that_was_killed_is_taken_again(scenario: FaultScenario, helm: str, state: str) -> None:
    prepare, way = WAYS[state]
    subject = scenario.subject(helm)
    prepare(scenario, subject)
    subject.killed("mid-apply", *subject.verb(*way))
    subject.settled()
    subject.run(*subject.verb(*way))
    assert scenario.text() == "a"
    assert scenario.text("extra") == ("mine" if "extra=mine" in way else None)
    assert scenario.check_settled().current.status == "deployed"


@pytest.fixture
def widgets(scenario: FaultScenario) -> Iterator[Widgets]:
    """A definition that exists."""
    found = Widgets(scenario.cluster, f"{scenario.namespace}.example.com")
    found.create()
    yield found
    with suppress(KubernautError):  # the test deletes it
        found.delete()


def test_way_out_of_a_removed_kind_that_was_killed_is_finished(scenario: FaultScenario, widgets: Widgets, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a", "--set", f"widget={widgets.group}")
    widgets.delete()
    for point in ("after-fence", "mid-apply"):  # its record is mapped; then Helm is at work
        subject.killed(point, *subject.verb("deploy", "b"))
        subject.settled()
        scenario.check()
    subject.deploy("b")
    assert scenario.text() == "b"
    subject.killed("mid-apply", *subject.verb("rollback", "", "--revision", "1"))
    subject.settled()
    subject.run(*subject.verb("rollback", "", "--revision", "1"))
    assert scenario.text() == "a"
    scenario.check_settled()


def test_adoption_that_was_killed_is_finished(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    late = subject.verb("deploy", "b", "--set", f"image={subject.image}", "--on-failure", "keep", "--timeout", "2s")
    subject.run(*late, status=7)
    until(lambda: is_healthy(scenario, subject), "the release is ready")
    before = web(scenario)
    for point, status in (("before-fence", "failed"), ("after-fence", "deployed")):
        subject.killed(point, *late, forward=point == "after-fence")
        assert scenario.check().current.status == status
    subject.run(*late)
    after = web(scenario)
    assert before is not None
    assert after is not None
    assert before["metadata"]["generation"] == after["metadata"]["generation"], "nothing was rolled out"
    assert scenario.statuses()[-1] == "deployed"
    scenario.check_settled()


def is_healthy(scenario: FaultScenario, subject: Subject) -> bool:
    settings = load_settings(environment=subject.environment, directory=subject.folder)
    store = HistoryStore(scenario.cluster)
    current = store.get(scenario.namespace, "app").records[0]
    return HealthReader(store, lambda: scenario.cluster, settings).health(current).status == "healthy"
