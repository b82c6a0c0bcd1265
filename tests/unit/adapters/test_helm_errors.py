"""Errors for the messages of Helm 3.17.3 and Helm 4.2.4, as recorded."""

# ruff: noqa: E501 - messages stand as they were recorded
from __future__ import annotations

import re

import pytest
from support.messages import facts

from kubernaut.adapters.helm_errors import TABLE, chart_location, clean_message, helm_error
from kubernaut.errors import (
    BadInput,
    ChartInvalid,
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    DeadlineExceeded,
    HelmFailed,
    KubernautError,
    NameInvalid,
    NamespaceNotFound,
    RegistryDenied,
    RegistryUnreachable,
    ReleaseLocked,
    ReleaseNotFound,
    ToolMissing,
    ValuesInvalid,
    VersionNotFound,
    error_classes,
)

DIGEST = "sha256:" + "0" * 64
REFUSED = "dial tcp 127.0.0.1:9: connect: connection refused"

RECORDED: list[tuple[type[KubernautError], str]] = [
    # the cluster
    (ClusterUnreachable, f'Error: Kubernetes cluster unreachable: Get "http://127.0.0.1:9/version": {REFUSED}'),
    (ClusterUnreachable, f'Error: kubernetes cluster unreachable: Get "http://127.0.0.1:9/version": {REFUSED}'),
    (ClusterUnreachable, 'Error: Kubernetes cluster unreachable: context "nope" does not exist'),
    (
        ClusterUnreachable,
        'Error: Kubernetes cluster unreachable: Get "https://127.0.0.1:16447/version": tls: failed to verify certificate: '
        "x509: certificate signed by unknown authority",
    ),
    (ClusterDenied, "Error: Kubernetes cluster unreachable: the server has asked for the client to provide credentials"),
    (ClusterDenied, "Error: kubernetes cluster unreachable: the server has asked for the client to provide credentials"),
    (
        ClusterDenied,
        'Error: Kubernetes cluster unreachable: Get "https://127.0.0.1:16447/version": getting credentials: exec: executable '
        "nope-plugin not found\n\nIt looks like you are trying to use a client-go credential plugin that is not installed.\n",
    ),
    (
        ClusterDenied,
        'Error: uninstall: Release not loaded: w: query: failed to query with labels: secrets is forbidden: User "system:'
        'serviceaccount:x:weak" cannot list resource "secrets" in API group "" in the namespace "x"',
    ),
    # the release
    (ReleaseLocked, "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"),
    (ReleaseLocked, "Error: UPGRADE FAILED: release: already exists"),
    (ReleaseLocked, "Error: release: already exists"),
    (ReleaseLocked, "Error: INSTALLATION FAILED: cannot re-use a name that is still in use"),
    (ReleaseNotFound, 'Error: UPGRADE FAILED: "b" has no deployed releases'),
    (ReleaseNotFound, "Error: release: not found"),
    (ReleaseNotFound, "Error: release has no 9 version"),
    (ReleaseNotFound, "Error: uninstall: Release not loaded: zz: release: not found"),
    (Conflict, 'Error: the release named "oa" is already deleted'),
    (NamespaceNotFound, 'Error: create: failed to create: namespaces "nope-ns" not found'),
    (NameInvalid, "Error: release name is invalid: A"),
    # the chart and its objects
    (
        ChartInvalid,
        "Error: YAML parse error on badyaml/templates/cm.yaml: error converting YAML to JSON: yaml: line 6: did not find expected "
        "key\n\nUse --debug flag to render out invalid YAML",
    ),
    (
        ChartInvalid,
        'Error: template: badtpl/templates/cm.yaml:7:10: executing "badtpl/templates/cm.yaml" at <.Values.a.b.c>: nil pointer '
        "evaluating interface {}.b\n\nUse --debug flag to render out invalid YAML",
    ),
    (
        ChartInvalid,
        'Error: badtpl/templates/cm.yaml:7:10\n  executing "badtpl/templates/cm.yaml" at <.Values.a.b.c>:\n    nil pointer evaluating '
        "interface {}.b\n\nUse --debug flag to render out invalid YAML",
    ),
    (ChartInvalid, 'Error: parse error at (badtpl2/templates/cm.yaml:7): unexpected "}" in if'),
    (ChartInvalid, "Error: execution error at (req/templates/cm.yaml:7:8): need it"),
    (ChartInvalid, "Error: cannot load values.yaml: error converting YAML to JSON: yaml: line 1: did not find expected ',' or ']'"),
    (
        ChartInvalid,
        "Error: cannot load Chart.yaml: error converting YAML to JSON: yaml: line 1: did not find expected node content",
    ),
    (ChartInvalid, "Error: validation: chart.metadata.version is required"),
    (ChartInvalid, "Error: Chart.yaml file is missing"),
    (ChartInvalid, "Error: found in Chart.yaml, but missing in charts/ directory: common"),
    (
        ChartInvalid,
        "Error: an error occurred while checking for chart dependencies. You may need to run 'helm dependency build' to fetch "
        "missing dependencies: found in Chart.yaml, but missing in charts/ directory: common",
    ),
    (ChartInvalid, "Error: unable to detect chart at /tmp/empty/Chart.yaml: open /tmp/empty/Chart.yaml: no such file or directory"),
    (ChartInvalid, 'Error: path "/tmp/nonexist" not found'),
    (ChartInvalid, "Error: library charts are not installable"),
    (
        ChartInvalid,
        "Error: INSTALLATION FAILED: chart requires kubeVersion: >=1.99.0 which is incompatible with Kubernetes v1.36.0",
    ),
    (ChartInvalid, "Error: failed to save: Invalid JSON in values.schema.json"),
    (
        ChartInvalid,
        'Error: unable to build kubernetes objects from release manifest: resource mapping not found for name: "x" namespace: "" '
        'from "": no matches for kind "Nope" in version "nope/v1"\nensure CRDs are installed first',
    ),
    (
        ChartInvalid,
        'Error: create: failed to create: Secret "sh.helm.release.v1.b.v1" is invalid: data: Too long: may not be more than 1048576 '
        "bytes",
    ),
    (
        Conflict,
        'Error: Unable to continue with install: ConfigMap "o" in namespace "n" exists and cannot be imported into the current '
        'release: invalid ownership metadata; annotation validation error: key "meta.helm.sh/release-name" must equal "p"',
    ),
    (
        Conflict,
        'Error: UPGRADE FAILED: update: failed to update: Secret "sh.helm.release.v1.web.v2" is invalid: data: Forbidden: field is '
        "immutable when `immutable` is set",
    ),
    (BadInput, 'Error: 1 error occurred:\n\t* Service "i" is invalid: [spec.ports[0].port: Invalid value: 99999999]'),
    (BadInput, 'Error: server-side apply failed for object n/i /v1, Kind=Service: Service "i" is invalid: [spec.ports[0].port: …]'),
    (BadInput, 'Error: 1 error occurred:\n\t* ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal'),
    (BadInput, "Error: server-side apply failed for object n/x /v1: failed to create typed patch object (n/x; /v1): .bogus: field"),
    (
        ValuesInvalid,
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\nschema:\n- v: Invalid type. Expected: "
        "string, given: integer\n",
    ),
    (ValuesInvalid, "Error: failed to parse -: error converting YAML to JSON: yaml: line 1: did not find expected node content"),
    # the registry
    (RegistryUnreachable, f'Error: failed to do request: Head "http://127.0.0.1:9/v2/x/good/blobs/{DIGEST}": {REFUSED}'),
    (
        RegistryUnreachable,
        f'Error: failed to perform "Exists" on destination: Head "http://127.0.0.1:9/v2/x/good/manifests/{DIGEST}": {REFUSED}',
    ),
    (
        RegistryUnreachable,
        f'Error: failed to perform "FetchReference" on source: Get "https://localhost:15004/v2/charts/nope/manifests/{DIGEST}": http: '
        "server gave HTTP response to HTTPS client",
    ),
    (VersionNotFound, f"Error: localhost:15004/charts/nope@{DIGEST}: not found"),
    (VersionNotFound, f'Error: failed to perform "FetchReference" on source: localhost:15004/charts/nope@{DIGEST}: not found'),
    (
        RegistryDenied,
        'Error: failed to authorize: Get "https://r.example.com/v2/x/manifests/1": response status code 401: Unauthorized',
    ),
    # while it waited
    (DeadlineExceeded, "Error: UPGRADE FAILED: context deadline exceeded"),
    (DeadlineExceeded, "Error: timed out waiting for the condition"),
    (
        DeadlineExceeded,
        'level=WARN msg="upgrade failed" name=r error="…"\nError: UPGRADE FAILED: resource Deployment/n/r not ready. status: InProgress, '
        "message: Pending termination: 1\ncontext deadline exceeded",
    ),
    # the rest
    (ToolMissing, "Error: unknown flag: --labels"),
    (HelmFailed, "Error: failed pre-install: 1 error occurred:\n\t* job hook failed: BackoffLimitExceeded"),
    (HelmFailed, ""),
]


@pytest.mark.parametrize(("error", "message"), RECORDED)
def test_message_is_converted_to_its_error(error: type[KubernautError], message: str) -> None:
    assert type(helm_error("Deploying n.r", message, 1)) is error


def test_every_rule_matches_a_message() -> None:
    import re

    messages = [clean_message(message) for _, message in RECORDED]
    unused = [
        row.pattern for row in TABLE if not any(re.search(row.pattern, message, re.IGNORECASE | re.DOTALL) for message in messages)
    ]
    assert set(unused) <= {row.pattern for row in TABLE if row.pattern.startswith(("is being terminated", "dial tcp"))}


def test_rules_name_known_errors() -> None:
    assert {row.error for row in TABLE} <= set(error_classes())


@pytest.mark.parametrize(
    ("message", "where"),
    [
        (
            "YAML parse error on a/templates/cm.yaml: error converting YAML to JSON: yaml: line 6: did not find",
            "templates/cm.yaml:6",
        ),
        ('template: a/templates/cm.yaml:7:10: executing "a/templates/cm.yaml"', "templates/cm.yaml:7"),
        ("a/templates/sub/cm.yaml:7:10\n  executing", "templates/sub/cm.yaml:7"),
        ("template: a/charts/b/templates/cm.yaml:3:1: x", "charts/b/templates/cm.yaml:3"),
        ("cannot load values.yaml: error converting YAML to JSON: yaml: line 4: did not", "values.yaml:4"),
        ("Chart.yaml file is missing", None),
    ],
)
def test_chart_location_is_found(message: str, where: str | None) -> None:
    assert chart_location(message) == where


def test_value_quoted_by_helm_4_is_removed() -> None:
    message = (
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\nschema:\n"
        "- at '/login': 'hunter2' does not match pattern '^a'\n- at '/v': got number, want string\n"
    )
    error = helm_error("Rendering", message, 1)
    assert "hunter2" not in str(error) + "".join(error.details)
    assert re.search(facts("'/login'", "'***'", "'^a'"), str(error))


def test_message_names_the_action_and_the_reason() -> None:
    error = helm_error("Deploying n.r", 'WARNING: group-readable\nError: 1 error occurred:\n\t* Service "i" is invalid: x\n', 1)
    assert re.search(facts("n.r", 'Service "i" is invalid: x'), str(error))
    assert "WARNING" not in str(error)


def test_exit_without_a_message_names_the_status() -> None:
    assert re.search(facts("7"), str(helm_error("Deploying", "", 7)))
    assert re.search(facts("signal", "9"), str(helm_error("Deploying", "", -9)))
