"""Hooks that fail or hang: each state is left by the one command that the product has printed as its hint."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest
from support.fault_chart import NAME
from support.faults import FaultScenario, Subject
from support.processes import Ended
from support.waiting import until

from kubernaut.adapters.kube_resources import PODS, RESOURCES

pytestmark = pytest.mark.platform

JOBS = RESOURCES["Job"]


def way_out(ended: Ended) -> list[str]:
    """Return the arguments of the first command in the hint that leaves hooks out."""
    return ended.hinted(" --no-hooks")


def get_stuck(subject: Subject) -> Ended:
    """Deploy with a pre-delete hook that fails, and delete in vain."""
    subject.deploy("a", "--set", "hook=pre-delete")
    return subject.run(*subject.verb("delete"), status=7)


def uninstall_without_hooks(subject: Subject) -> None:
    command = [subject.environment["KUBERNAUT_HELM"], "uninstall", NAME, "-n", subject.namespace, "--keep-history", "--no-hooks"]
    subprocess.run(command, env=subject.environment, check=True, capture_output=True, timeout=60)


VERBS = {
    "deploy": ("deploy", "b"),
    "restore": ("restore", ""),
    "rollback": ("rollback", "", "--revision", "1"),
    "delete": ("delete", ""),
}
STATUSES = {"deploy": ["superseded", "deployed"], "delete": ["uninstalled"]}
RUNS = {"deploy": "b", "delete": None}


# a pre-delete hook that fails


def test_failing_pre_delete_hook_is_left_out_by_the_hint(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    ended = get_stuck(subject)
    assert "no queue" in ended.stderr, "the last lines of the hook"
    assert scenario.statuses() == ["uninstalling"]
    subject.run(*way_out(ended))
    assert scenario.statuses() == ["uninstalled"]
    assert scenario.text() is None
    scenario.check_settled()


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_after_a_failing_pre_delete_hook_has_a_way_out(scenario: FaultScenario, helm: str, verb: str) -> None:
    """The second try finds the record fenced by the first."""
    subject = scenario.subject(helm)
    get_stuck(subject)
    for _ in range(2):
        ended = subject.run(*subject.verb(*VERBS[verb]), status=7)
        assert "immutable" not in ended.stderr
        assert f"{scenario.namespace}.{NAME}.v1" in ended.stderr
    subject.run(*way_out(ended))
    assert scenario.statuses() == STATUSES.get(verb, ["uninstalled", "deployed"])
    assert scenario.text() == RUNS.get(verb, "a")
    scenario.check_settled()


def test_fenced_release_that_is_being_deleted_is_unlocked(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    get_stuck(subject)
    subject.run(*subject.verb("restore"), status=7)
    subject.run("unlock", NAME, "-n", scenario.namespace, "--yes")
    assert scenario.statuses() == ["failed"]
    subject.deploy("b")
    assert scenario.statuses() == ["failed", "deployed"]
    assert scenario.text() == "b"


@pytest.mark.parametrize("verb", [*VERBS, "unlock"])
def test_plain_uninstall_of_a_fenced_release_is_recorded(scenario: FaultScenario, helm: str, verb: str) -> None:
    subject = scenario.subject(helm)
    get_stuck(subject)
    subject.run(*subject.verb("restore"), status=7)
    uninstall_without_hooks(subject)
    assert (scenario.statuses(), scenario.text()) == (["uninstalling"], None)
    unlock = ["unlock", NAME, "-n", scenario.namespace, "--yes"]
    subject.run(*(unlock if verb == "unlock" else subject.verb(*VERBS[verb])))
    assert scenario.statuses() == {**STATUSES, "unlock": ["uninstalled"]}.get(verb, ["uninstalled", "deployed"])
    scenario.check_settled()


@pytest.mark.parametrize("point", ["after-aside", "mid-apply", "before-final-write"])
def test_way_out_that_is_killed_is_taken_again(scenario: FaultScenario, helm: str, point: str) -> None:
    subject = scenario.subject(helm)
    get_stuck(subject)
    ended = subject.run(*subject.verb("deploy", "b"), status=7)
    subject.killed(point, *way_out(ended))
    subject.settled()
    scenario.subject(helm).run(*way_out(ended))
    assert scenario.statuses()[-1] == "deployed"
    assert scenario.text() == "b"
    scenario.check_settled()


# other hooks


def test_failing_pre_upgrade_hook_is_left_out_by_the_hint(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    ended = subject.deploy("b", "--set", "hook=pre-upgrade", status=6)
    assert scenario.text() == "a"
    subject.run(*way_out(ended))
    assert scenario.text() == "b"
    assert scenario.check_settled().current.status == "deployed"


def test_failing_pre_rollback_hook_is_left_out_by_the_hint(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a", "--set", "hook=pre-rollback")
    subject.deploy("b")
    ended = subject.run(*subject.verb("rollback"), status=7)
    subject.run(*way_out(ended))
    assert scenario.text() == "a"
    assert scenario.check_settled().current.status == "deployed"


def test_failing_hook_of_an_automatic_rollback_is_left_out_by_the_hint(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a", "--set", "hook=pre-rollback")
    ended = subject.deploy("b", "--set", "hook=pre-upgrade", status=7)
    subject.run(*way_out(ended))
    assert scenario.text() == "a"
    assert scenario.check_settled().current.status == "deployed"


# a hook that hangs


def is_migrating(scenario: FaultScenario) -> bool:
    pods = scenario.cluster.list_pods(scenario.namespace, {})
    return scenario.cluster.get_object(JOBS, scenario.namespace, "migrate") is not None or any(
        pod["metadata"]["name"].startswith("migrate-") for pod in pods
    )


def has_begun(scenario: FaultScenario) -> bool:
    """Return whether the hook runs and has written its line."""
    for pod in scenario.cluster.list_pods(scenario.namespace, {}):
        if pod["metadata"]["name"].startswith("migrate-") and pod["status"]["phase"] == "Running":
            how: dict[str, Any] = {"container": None, "tail": None, "follow": False, "previous": False}
            return any(scenario.cluster.pod_log(scenario.namespace, pod["metadata"]["name"], **how))
    return False


def test_hook_that_hangs_does_not_run_beside_the_release_before(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    ended = subject.deploy("b", "--set", "migration=pre-upgrade", "--timeout", "8s", status=6)
    assert "migrating" in ended.stderr, "the last lines of the hook"
    assert not is_migrating(scenario)
    assert scenario.text() == "a"
    subject.run(*way_out(ended))
    assert scenario.text() == "b"
    assert not is_migrating(scenario)
    scenario.check_settled()


def test_hook_of_a_deploy_that_a_signal_stops_does_not_go_on(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    running = subject.start(*subject.verb("deploy", "b", "--set", "migration=pre-upgrade"))
    until(lambda: has_begun(scenario), "the hook runs")
    running.signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.status == 143
    assert "migrating" in ended.stderr, "the last lines of the hook"
    until(lambda: not is_migrating(scenario), "the hook is gone")
    assert scenario.text() == "a"
    subject.deploy("c")
    scenario.check_settled()


def test_hook_that_hangs_in_a_delete_does_not_go_on(scenario: FaultScenario, helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a", "--set", "migration=pre-delete")
    ended = subject.run(*subject.verb("delete", "", "--timeout", "8s"), status=7)
    assert not is_migrating(scenario)
    subject.run(*way_out(ended))
    assert scenario.statuses() == ["uninstalled"]
    assert list(scenario.cluster.list_objects(PODS, scenario.namespace).items) == []
    scenario.check_settled()


@pytest.mark.parametrize("verb", ["deploy", "delete"])
def test_hook_of_a_killed_kubernaut_is_removed_by_the_next_verb(scenario: FaultScenario, helm: str, verb: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a", *(["--set", "migration=pre-delete"] if verb == "delete" else []))
    running = subject.start(*subject.verb(verb, "b", *(["--set", "migration=pre-upgrade"] if verb == "deploy" else [])))
    until(lambda: has_begun(scenario), "the hook runs")
    running.kill()
    subject.settled()
    assert is_migrating(scenario)
    ended = subject.run(*subject.verb(verb, "c", *(["--no-hooks"] if verb == "delete" else [])))
    assert all(word in ended.stderr for word in ("hook migrate", "migrating", "deleted")), ended.stderr
    assert not is_migrating(scenario)
    assert scenario.text() == ("c" if verb == "deploy" else None)
    scenario.check_settled()
