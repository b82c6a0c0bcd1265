"""The next step for each cause, for the command line and for the REST API."""

from __future__ import annotations

import re
import shlex

import pytest
from support.failing_releases import FAILING

from kubernaut.history.explanation import Explanation
from kubernaut.rollout.hints import hint_for
from kubernaut.rollout.problems import Cause

COMMAND = re.compile(r"`((?:kubectl|kubernaut|docker|helm) [^`]+)`")
NAMESPACED = (
    "kubernaut",
    "kubectl logs",
    "kubectl label configmap",
    "kubectl delete",
    "kubectl describe pod",
    "kubectl create secret",
)
OPTION_OR_COMMAND = re.compile(r"(?<![\w-])--?[a-z]|[`(]kubernaut |\bkubectl\b")


@pytest.mark.parametrize("name", FAILING)
def test_commands_are_complete(name: str) -> None:
    hint = hint_for(FAILING[name].explain(), "demo", "hello").hint
    for command in COMMAND.findall(hint):
        assert shlex.split(command)
        if command.startswith(NAMESPACED):
            assert "-n demo" in command
        assert not re.search(r"\bNAMESPACE\b|\bNAME\b|  | $|/ ", command)


@pytest.mark.parametrize("name", FAILING)
def test_hints_for_http_name_no_command(name: str) -> None:
    hint = hint_for(FAILING[name].explain(), "demo", "hello").http_hint
    assert hint
    assert not OPTION_OR_COMMAND.search(hint)


@pytest.mark.parametrize("cause", [*Cause, "a cause of a newer version"])
def test_every_cause_has_hints_without_facts(cause: str) -> None:
    hints = hint_for(Explanation(cause=cause, sentence="x"), "demo", "hello")
    assert hints.hint.endswith((".", "`"))
    assert hints.http_hint.endswith((".", "`"))
    assert not OPTION_OR_COMMAND.search(hints.http_hint)
    assert not re.search(r"  |\(\)| \.|None", hints.hint + hints.http_hint)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("image denied, pull secret missing", ("kubectl create secret docker-registry regcred -n demo",)),
        ("crash", ("kubernaut logs hello -n demo --previous",)),
        ("crash of an init container", ("kubectl logs web-7f9c5d4b6-x2k4p -c prepare -n demo --previous",)),
        ("hook failed", ("kubectl logs migrate-q8z -c migrate -n demo",)),
        ("hook hangs, Helm 4", ("kubectl describe job/migrate -n demo", "--timeout")),
        ("Secret missing", ("kubectl get secret db -n demo",)),
        ("key missing", ("kubectl describe secret db -n demo", "password")),
        ("quota", ("kubectl describe quota small -n demo",)),
        ("claim of a missing storage class", ("kubectl get storageclass",)),
        (
            "belongs to another release",
            ("the same command again with `--take-ownership`", "kubectl get configmap/settings -n demo -o yaml"),
        ),
        ("selector immutable", ("kubectl delete deployment/web -n demo",)),
        ("StatefulSet immutable", ("kubectl delete statefulset/db -n demo --cascade=orphan",)),
        ("API version gone", ("networking.k8s.io/v1", "kubectl api-resources")),
        ("API version gone in the previous revision", ("helm mapkubeapis hello -n demo",)),
        ("right missing", ("kubectl auth can-i create services -n demo --as system:serviceaccount:demo:deployer",)),
        ("namespace being deleted", ("kubectl get namespace demo", "--create-namespace")),
        (
            "apply conflict",
            (
                "the same command again with `--on-conflict take`",
                "kubectl get deployment/web -n demo -o yaml --show-managed-fields",
                ".spec.replicas",
            ),
        ),
    ],
)
def test_hint_names_the_object(name: str, words: tuple[str, ...]) -> None:
    hint = hint_for(FAILING[name].explain(), "demo", "hello").hint
    assert [word for word in words if word not in hint] == []


def test_object_that_others_changed_is_made_anew() -> None:
    facts = {"kind": "Service", "name": "web", "field": "spec.ports[1].name", "changed": "spec.ports[80]"}
    hints = hint_for(Explanation(cause=Cause.OBJECT_INVALID, sentence="x", facts=facts), "demo", "hello")
    assert "spec.ports[80]" in hints.hint
    assert "`kubectl delete service/web -n demo`" in hints.hint
    assert "kubectl" not in hints.http_hint


@pytest.mark.parametrize("bad", ["x; rm -rf ~", "$(id)", "--all", "../x", "a b", "`id`", "x" * 300])
@pytest.mark.parametrize("cause", list(Cause))
def test_names_that_are_not_valid_stay_out_of_commands(cause: Cause, bad: str) -> None:
    names = (
        "kind",
        "name",
        "namespace",
        "pod",
        "container",
        "missing",
        "missingName",
        "pullSecret",
        "quota",
        "image",
        "user",
        "verb",
    )
    facts = {**dict.fromkeys((*names, "resource"), bad), "hook": "pre-install", "restarts": "1", "changed": bad}
    hint = hint_for(Explanation(cause=cause, sentence="x", facts=facts), "demo", "hello").hint
    assert [command for command in re.findall(r"`([^`]*)`", hint) if bad in command] == []
