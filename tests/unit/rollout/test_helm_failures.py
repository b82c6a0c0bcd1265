"""The cause in Helm's messages, as Helm 3.17 and Helm 4.2 write them."""

# ruff: noqa: E501 - messages stand as Helm writes them
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.adapters.helm_errors import helm_error
from kubernaut.errors import DeadlineExceeded
from kubernaut.rollout.helm_failures import added_words, helm_finding
from kubernaut.rollout.problems import Cause, without_walls

BOTH: list[tuple[str, Cause, dict[str, str], str, str]] = [
    (
        "hook failed",
        Cause.HOOK_FAILED,
        {"hook": "pre-upgrade", "kind": "Job", "name": "migrate"},
        "Error: UPGRADE FAILED: pre-upgrade hooks failed: 1 error occurred:\n\t* job migrate failed: BackoffLimitExceeded\n\n",
        "Error: UPGRADE FAILED: pre-upgrade hooks failed: resource Job/demo/migrate not ready. status: Failed, message: Job Failed. failed: 2/1",
    ),
    (
        "hook too slow",
        Cause.HOOK_FAILED,
        {"hook": "pre-install", "timedOut": "true"},
        "Error: failed pre-install: 1 error occurred:\n\t* timed out waiting for the condition\n\n",
        "Error: failed pre-install: resource Job/demo/migrate not ready. status: InProgress, message: Job in progress\ncontext deadline exceeded",
    ),
    (
        "belongs to another release",
        Cause.OWNED_BY_ANOTHER_RELEASE,
        {"kind": "ConfigMap", "name": "settings", "owner": "other"},
        'Error: Unable to continue with update: ConfigMap "settings" in namespace "demo" exists and cannot be imported into the current release: invalid ownership metadata; annotation validation error: key "meta.helm.sh/release-name" must equal "hello": current value is "other"',
        'Error: UPGRADE FAILED: unable to continue with update: ConfigMap "settings" in namespace "demo" exists and cannot be imported into the current release: invalid ownership metadata; annotation validation error: key "meta.helm.sh/release-name" must equal "hello": current value is "other"',
    ),
    (
        "object that the compared revision does not have",
        Cause.OWNED_BY_ANOTHER_RELEASE,
        {"kind": "ConfigMap", "name": "settings"},
        'Error: no ConfigMap with the name "settings" found',
        'Error: original object ConfigMap with the name "settings" not found',
    ),
    (
        "immutable field",
        Cause.FIELD_IMMUTABLE,
        {"kind": "Deployment", "name": "web", "field": "spec.selector"},
        'Error: UPGRADE FAILED: cannot patch "web" with kind Deployment: Deployment.apps "web" is invalid: spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"app":"b"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable',
        'Error: UPGRADE FAILED: server-side apply failed for object demo/web apps/v1, Kind=Deployment: Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable',
    ),
    (
        "boolean in an annotation",
        Cause.OBJECT_INVALID,
        {"field": "metadata.annotations", "given": "bool", "expected": "string"},
        'Error: INSTALLATION FAILED: unable to build kubernetes objects from release manifest: unable to decode "": json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of type string',
        'Error: INSTALLATION FAILED: unable to build kubernetes objects from release manifest: unable to decode "": json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of type string',
    ),
    (
        "number in a variable",
        Cause.OBJECT_INVALID,
        {"given": "number", "expected": "string"},
        'Error: 1 error occurred:\n\t* Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string\n\n',
        'Error: server-side apply failed for object demo/web apps/v1, Kind=Deployment: failed to create typed patch object (demo/web; apps/v1, Kind=Deployment): .spec.template.spec.containers[name="web"].env[name="PORT"].value: expected string, got &value.valueUnstructured{Value:8080}',
    ),
    (
        "node port",
        Cause.NODE_PORT_TAKEN,
        {"name": "web", "port": "30080"},
        'Error: 1 error occurred:\n\t* Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated\n\n',
        'Error: UPGRADE FAILED: failed to create resource: server-side apply failed for object demo/web /v1, Kind=Service: Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated',
    ),
    (
        "deadline",
        Cause.DEADLINE_EXCEEDED,
        {},
        "Error: UPGRADE FAILED: context deadline exceeded",
        "Error: UPGRADE FAILED: resource Deployment/demo/web not ready. status: InProgress, message: Available: 0/1\ncontext deadline exceeded",
    ),
    (
        "Job failed",
        Cause.JOB_FAILED,
        {"kind": "Job", "name": "seed"},
        "Error: UPGRADE FAILED: job is failed: demo/seed",
        "Error: UPGRADE FAILED: resource Job/demo/seed not ready. status: Failed, message: Job Failed. failed: 1/1",
    ),
    (
        "hook of a rollback",
        Cause.JOB_FAILED,
        {"kind": "Job", "name": "migrate"},
        "Error: job migrate failed: BackoffLimitExceeded",
        "Error: resource Job/demo/migrate not ready. status: Failed, message: Job Failed. failed: 2/1",
    ),
    (
        "quota",
        Cause.QUOTA_EXCEEDED,
        {"quota": "small", "requested": "requests.cpu=1,requests.memory=1Gi"},
        'Error: 1 error occurred:\n\t* pods "web" is forbidden: exceeded quota: small, requested: requests.cpu=1,requests.memory=1Gi, used: requests.cpu=1,requests.memory=1Gi, limited: requests.cpu=1,requests.memory=1Gi\n\n',
        'Error: server-side apply failed for object demo/web /v1, Kind=Pod: pods "web" is forbidden: exceeded quota: small, requested: requests.cpu=1,requests.memory=1Gi, used: requests.cpu=1,requests.memory=1Gi, limited: requests.cpu=1,requests.memory=1Gi',
    ),
    (
        "right missing",
        Cause.ACCESS_DENIED,
        {"verb": "create", "resource": "deployments.apps", "namespace": "demo"},
        'Error: 1 error occurred:\n\t* deployments.apps is forbidden: User "ci" cannot create resource "deployments" in API group "apps" in the namespace "demo"\n\n',
        'Error: server-side apply failed for object demo/web apps/v1, Kind=Deployment: deployments.apps "web" is forbidden: User "ci" cannot create resource "deployments" in API group "apps" in the namespace "demo"',
    ),
    (
        "malformed object",
        Cause.OBJECT_INVALID,
        {},
        'Error: 1 error occurred:\n\t* ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string\n\n',
        "Error: server-side apply failed for object n/x /v1, Kind=ConfigMap: failed to create typed patch object (n/x; /v1, Kind=ConfigMap): .bogus: field not declared in schema",
    ),
]


@pytest.mark.parametrize("helm", [3, 4])
@pytest.mark.parametrize("case", BOTH, ids=[case[0] for case in BOTH])
def test_both_helms_give_the_same_cause(case: tuple[str, Cause, dict[str, str], str, str], helm: int) -> None:
    _, cause, facts, *messages = case
    found = helm_finding(helm_error("Deploying demo.hello", messages[helm - 3], 1))
    assert found.cause is cause
    assert {fact: found.facts.get(fact) for fact in facts} == facts
    assert found.why
    assert "demo.hello" not in found.why


def test_fence_of_a_record_is_not_an_immutable_field_of_the_release() -> None:
    message = 'Error: UPGRADE FAILED: update: failed to update: Secret "sh.helm.release.v1.web.v2" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    assert helm_finding(helm_error("Deploying demo.web", message, 1)).cause is Cause.HELM_FAILED


def test_values_are_not_read_as_fields() -> None:
    message = 'Error: cannot patch "a" with kind Job: Job.batch "a" is invalid: spec.template: Invalid value: {"x, evil: Invalid value: 1":{}}: field is immutable'
    assert helm_finding(helm_error("Deploying demo.a", message, 1)).facts["field"] == "spec.template"


@pytest.mark.parametrize("what", ["Deploying demo.hello", "Rolling demo.hello back to revision 3", "Deleting demo.hello"])
def test_action_is_not_repeated(what: str) -> None:
    assert helm_finding(helm_error(what, "Error: new words", 1)).why == "new words"


def test_refusal_decides_and_a_deadline_does_not() -> None:
    port = 'Error: Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated'
    assert helm_finding(helm_error("Deploying demo.web", port, 1)).decides
    stopped = DeadlineExceeded(
        "Deploying demo.web took longer than 30 s, and Helm was stopped.", details=["pulling", "still pulling"]
    )
    found = helm_finding(stopped)
    assert (found.decides, found.facts["seconds"]) == (False, "30")


@pytest.mark.parametrize(
    "message", ["", "Error: ", "Error: UPGRADE FAILED: ", "Error: 2 errors occurred:\n\t* first\n\t* second\n\n"]
)
def test_unknown_message_is_quoted(message: str) -> None:
    found = helm_finding(helm_error("Deploying demo.web", message, 1))
    assert found.cause is Cause.HELM_FAILED
    assert found.why


def test_words_that_say_only_that_helm_waited_add_nothing() -> None:
    stopped = DeadlineExceeded("Deploying demo.web took longer than 30 s, and Helm was stopped.", details=["level=WARN msg=x"])
    assert added_words(stopped, "anything") == ""
    noise = ["Pulled: r/web:1", "Digest: sha256:7ffc", "W1128 20:57:47.701948    2084 warnings.go:70] would violate PodSecurity"]
    assert added_words(DeadlineExceeded(stopped.message, details=noise), "anything") == ""
    assert added_words(helm_error("Deploying demo.web", "Error: UPGRADE FAILED: context deadline exceeded", 1), "") == ""
    assert added_words(helm_error("Deploying demo.web", "Error: new words", 1), "the New Words here") == ""
    assert added_words(helm_error("Deploying demo.web", "Error: new words", 1), "other") == "new words"


@given(st.text("ab{} ", max_size=300))
def test_walls_are_cut_to_their_braces(text: str) -> None:
    shown = without_walls(text)
    assert len(shown) <= len(text)
    assert without_walls(f"before {{{'x' * 90}}} after") == "before {…} after"
    if "{" not in text or len(text) <= 80:
        assert shown == text
