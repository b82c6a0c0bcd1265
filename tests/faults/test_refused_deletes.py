"""Objects that the cluster does not delete: a policy or a webhook refuses it, or a finalizer never ends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from support.api_calls import call_api, merge_patch
from support.faults import FaultScenario, Subject
from support.processes import Ended
from support.waiting import until

from kubernaut.errors import KubernautError, NotFound

pytestmark = pytest.mark.platform

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_POLICIES = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
_WEBHOOKS = ("validatingwebhookconfigurations",)
_FINALIZER = "example.org/kept"


def extra(scenario: FaultScenario) -> str:
    return f"/api/v1/namespaces/{scenario.namespace}/configmaps/extra"


@contextmanager
def deletes_refused(scenario: FaultScenario, by: str = "policy") -> Iterator[None]:
    """Have the cluster refuse to delete the ConfigMap ``extra``: a policy does, or a webhook that does not answer."""
    name = f"keeps-{scenario.namespace}"
    places = [f"{_ADMISSION}/{plural}" for plural in (_POLICIES if by == "policy" else _WEBHOOKS)]
    objects = policy(name, scenario.namespace) if by == "policy" else [webhook(name, scenario.namespace)]
    for place, body in zip(places, objects, strict=True):
        call_api(scenario.cluster, "POST", place, body={"metadata": {"name": name}, **body})
    try:
        until(lambda: is_refused(scenario), "the rule is in force")
        yield
    finally:
        for place in places:
            call_api(scenario.cluster, "DELETE", f"{place}/{name}")
    until(lambda: not is_refused(scenario), "the rule is no longer in force")


def rule_for(namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"]}
    return rule, {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def policy(name: str, namespace: str) -> list[dict[str, Any]]:
    rule, selector = rule_for(namespace)
    validation = {"expression": "oldObject.metadata.name != 'extra'", "message": "extra is under legal hold"}
    matches = {"resourceRules": [rule], "namespaceSelector": selector}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    return [{"spec": {"matchConstraints": matches, "validations": [validation]}}, {"spec": binding}]


def webhook(name: str, namespace: str) -> dict[str, Any]:
    rule, selector = rule_for(namespace)
    of_extra = {"name": "extra", "expression": "oldObject.metadata.name == 'extra'"}
    client = {"service": {"name": "not-there", "namespace": namespace}}
    more = {"sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 2}
    hook = {"name": "keeps.example.org", "rules": [rule], "namespaceSelector": selector, "matchConditions": [of_extra]}
    return {"webhooks": [{**hook, **more, "clientConfig": client}]}


def is_refused(scenario: FaultScenario) -> bool:
    try:
        call_api(scenario.cluster, "DELETE", f"{extra(scenario)}?dryRun=All")
    except NotFound:
        return False
    except KubernautError:
        return True
    return False


@contextmanager
def held(scenario: FaultScenario) -> Iterator[None]:
    """Have a finalizer hold the ConfigMap ``extra``."""
    merge_patch(scenario.cluster, extra(scenario), {"metadata": {"finalizers": [_FINALIZER]}})
    try:
        yield
    finally:
        with suppress(NotFound):
            merge_patch(scenario.cluster, extra(scenario), {"metadata": {"finalizers": None}})


def deployed(scenario: FaultScenario, helm: str) -> Subject:
    subject = scenario.subject(helm)
    subject.deploy("a", "--set", "extra=old")
    return subject


def delete(subject: Subject) -> Ended:
    """Delete the release; Helm waits for the finalizer until its time is over."""
    return subject.run(*subject.verb("delete"), "--timeout", "2s")


# a policy or a webhook that refuses


@pytest.mark.parametrize("verb", ["delete", "deploy", "restore"])
def test_refused_delete_is_explained_and_finished_later(scenario: FaultScenario, helm: str, verb: str) -> None:
    subject = deployed(scenario, helm)
    with deletes_refused(scenario):
        subject.run(*subject.verb("delete"), status=7)
        ended = subject.run(*subject.verb(verb, "b", "-o", "json"), status=7)
        problem = ended.problem()
        assert problem["cause"] == "admission_denied"
        assert "extra is under legal hold" in problem["detail"]
        assert "ConfigMap" in problem["detail"]
        assert scenario.statuses() == ["uninstalling"]
    subject.run(*ended.hinted("delete "), "--yes")
    assert scenario.statuses() == ["uninstalled"]
    assert scenario.text("extra") is None
    scenario.check_settled()


def test_webhook_that_does_not_answer_is_named(scenario: FaultScenario, helm: str) -> None:
    subject = deployed(scenario, helm)
    with deletes_refused(scenario, by="webhook"):
        ended = subject.run(*subject.verb("delete", "", "-o", "json"), status=7)
        assert ended.problem()["cause"] == "admission_denied"
        assert "keeps.example.org" in ended.problem()["detail"]
    subject.run(*subject.verb("delete"))
    assert scenario.statuses() == ["uninstalled"]
    scenario.check_settled()


def test_release_of_a_refused_delete_is_kept_by_the_hint(scenario: FaultScenario, helm: str) -> None:
    subject = deployed(scenario, helm)
    with deletes_refused(scenario):
        ended = subject.run(*subject.verb("delete"), status=7)
        subject.run(*ended.hinted("unlock "), "--yes")
        subject.deploy("b", "--set", "extra=new")
        assert (scenario.text(), scenario.text("extra")) == ("b", "new")
    assert scenario.statuses() == ["failed", "deployed"]


def test_object_that_an_upgrade_could_not_delete_is_named(scenario: FaultScenario, helm: str) -> None:
    """Helm 3 says nothing, and calls the release deployed; Helm 4 fails."""
    subject = deployed(scenario, helm)
    with deletes_refused(scenario):
        ended = subject.deploy("b", status=None)
        assert (ended.status, scenario.text()) == ((0, "b") if helm == "helm3" else (6, "a"))
        assert "ConfigMap extra" in ended.stderr
        assert "extra is under legal hold" in ended.stderr
        assert scenario.text("extra") == "old"
    scenario.check_settled()


# a finalizer that never ends


def test_delete_names_the_finalizer_that_it_waits_for(scenario: FaultScenario, helm: str) -> None:
    subject = deployed(scenario, helm)
    with held(scenario):
        running = subject.start(*subject.verb("delete"))
        until(lambda: _FINALIZER in (subject.folder / "1.stderr").read_text(), "it names the finalizer")
    assert running.wait().status == 0
    assert scenario.statuses() == ["uninstalled"]
    scenario.check_settled()


def test_finalizer_is_named_and_holds_back_the_next_deploy(scenario: FaultScenario, helm: str) -> None:
    subject = deployed(scenario, helm)
    with held(scenario):
        assert _FINALIZER in delete(subject).stderr
        assert scenario.statuses() == ["uninstalled"]
        problem = subject.deploy("b", "--set", "extra=new", "--timeout", "2s", "-o", "json", status=5).problem()
        assert problem["code"] == "conflict"
        assert _FINALIZER in problem["detail"]
        assert scenario.statuses() == ["uninstalled"]
        assert scenario.text() is None
        scenario.check_settled()
    subject.deploy("b", "--set", "extra=new")
    assert (scenario.text(), scenario.text("extra")) == ("b", "new")
    scenario.check_settled()


@pytest.mark.parametrize("verb", ["deploy", "restore"])
def test_next_verb_waits_for_the_finalizer(scenario: FaultScenario, helm: str, verb: str) -> None:
    subject = deployed(scenario, helm)
    with held(scenario):
        delete(subject)
        more = ["--set", "extra=new"] if verb == "deploy" else []
        running = subject.start(*subject.verb(verb, "b"), *more)
        until(lambda: _FINALIZER in (subject.folder / "2.stderr").read_text(), "it names the finalizer")
        assert scenario.statuses() == ["uninstalled"]
    assert running.wait().status == 0
    assert scenario.text("extra") == ("new" if verb == "deploy" else "old")
    assert scenario.check_settled().current.status == "deployed"


def test_deploy_that_is_killed_while_it_waits_is_taken_again(scenario: FaultScenario, helm: str) -> None:
    subject = deployed(scenario, helm)
    with held(scenario):
        delete(subject)
        running = subject.start(*subject.verb("deploy", "b"))
        until(lambda: _FINALIZER in (subject.folder / "2.stderr").read_text(), "it names the finalizer")
        running.kill()
        running.wait()
    subject.deploy("b")
    assert scenario.text() == "b"
    scenario.check_settled()
