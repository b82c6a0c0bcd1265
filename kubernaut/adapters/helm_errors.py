"""Conversion of Helm's messages to our errors.

Helm has no error codes. The table was recorded from Helm 3.17.3 and 4.2.4 (``tests/unit/adapters/test_helm_errors.py`` holds the
messages); a message that it does not know becomes :class:`HelmFailed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
)


@dataclass(frozen=True)
class Rule:
    """A rule of the table; the first whose pattern matches decides.

    Attributes:
        pattern: A regular expression, searched anywhere in the message, case-insensitively.
        error: The error for the message.
        hint: The hint, where the error's own does not fit.
    """

    pattern: str
    error: type[KubernautError]
    hint: str | None = None


_REGISTRY_URL = r"https?://[^\s\"]+/(?:v2|token)(?:/|\b)"

TABLE = (
    Rule(
        r"unknown (?:shorthand )?flag|unknown command",
        ToolMissing,
        "Install Helm 3.17 or newer, or set its path (`kubernaut config`).",
    ),
    # the registry; before the cluster, since both fail with the same messages of Go's network library
    Rule(
        r"server gave http response to https client",
        RegistryUnreachable,
        "The registry uses plain HTTP: add it to the `plain_http` setting (`kubernaut config`).",
    ),
    Rule(rf"{_REGISTRY_URL}.*(?:\b401\b|\b403\b|unauthorized|denied|forbidden)", RegistryDenied),
    Rule(
        r"response status code (?:401|403)|unauthorized: authentication required|no basic auth credentials|: denied: ",
        RegistryDenied,
    ),
    Rule(r"manifest unknown|name unknown|(?:@sha256:|oci://)\S+: not found|chart \"[^\"]+\".* not found", VersionNotFound),
    Rule(rf"{_REGISTRY_URL}|failed to do request|response status code 5\d\d", RegistryUnreachable),
    # the cluster
    Rule(
        r"kubernetes cluster unreachable: .*(?:unauthorized|asked for the client to provide credentials|forbidden)", ClusterDenied
    ),
    Rule(r"asked for the client to provide credentials|getting credentials: exec|error: unauthorized", ClusterDenied),
    Rule(r"kubernetes cluster unreachable", ClusterUnreachable),
    Rule(r"another operation \(install/upgrade/rollback\) is in progress", ReleaseLocked),
    Rule(
        r"release: already exists|cannot re-?use a name that is still in use",
        ReleaseLocked,
        "Another process deployed it at the same time.",
    ),
    Rule(r"is already deleted", Conflict, "The release is deleted already."),
    Rule(r"namespaces? \"[^\"]+\" not found", NamespaceNotFound),
    Rule(r"is being terminated|because it is being terminated", Conflict, "The namespace is being deleted: wait until it is gone."),
    Rule(
        r"is forbidden: (?:user|exceeded quota|.*is not allowed)|cannot (?:get|list|create|update|patch|delete) resource",
        ClusterDenied,
    ),
    Rule(r"release: not found|has no deployed releases|release has no \S+ version|no release provided", ReleaseNotFound),
    # the values and the chart
    Rule(r"values don't meet the specifications of the schema|failed to parse -", ValuesInvalid),
    Rule(
        r"data: too long: may not be more than|request entity too large|etcdserver: request is too large",
        ChartInvalid,
        "The chart is too large.",
    ),
    Rule(
        r"template: |yaml parse error on|execution error at|parse error at|function \"[^\"]+\" not defined|error calling "
        r"|\S+/templates/\S+:\d+:\d+",
        ChartInvalid,
    ),
    Rule(
        r"cannot load (?:chart|values)\.yaml|chart\.yaml file is missing|unable to detect chart at|validation: chart\.metadata",
        ChartInvalid,
    ),
    Rule(
        r"missing in charts/? directory",
        ChartInvalid,
        "`helm dependency build CHART` downloads the chart's dependencies into charts/; then package and push it again.",
    ),
    Rule(
        r"library charts are not installable",
        ChartInvalid,
        "A chart of `type: library` only helps others: deploy the chart that depends on it.",
    ),
    Rule(
        r"chart requires kubeversion: ",
        ChartInvalid,
        "Use a version of the chart for this Kubernetes, or correct kubeVersion in its Chart.yaml.",
    ),
    Rule(
        r"failed to save: invalid json in values\.schema\.json|file .* is larger than the maximum|chart metadata"
        r"|path \"[^\"]+\" not found",
        ChartInvalid,
    ),
    Rule(
        r"no matches for kind",
        ChartInvalid,
        "The cluster does not serve this kind or version: change apiVersion in the chart, or install its CustomResourceDefinition.",
    ),
    Rule(r"unable to build kubernetes objects|error validating|error converting yaml to json", ChartInvalid),
    Rule(
        r"exists and cannot be imported into the current release|invalid ownership metadata",
        Conflict,
        "The chart makes an object that already exists and belongs to something else: rename one of them, or delete the other.",
    ),
    Rule(r"release name is invalid", NameInvalid),
    Rule(
        r"sh\.helm\.release\.v1\.\S+.* field is immutable",
        Conflict,
        "The release was unlocked meanwhile, and another operation works on it.",
    ),
    Rule(
        r" is invalid: |cannot be handled as a |failed to create typed patch object",
        BadInput,
        "Correct the chart or its values: Kubernetes refused the object.",
    ),
    # while it waited
    Rule(r"timed out waiting|context deadline exceeded|would exceed context deadline|resource not ready", DeadlineExceeded),
    Rule(
        r"dial tcp|connection refused|connection reset|no such host|i/o timeout|tls handshake|x509: |etcdserver: |http2: |: EOF",
        ClusterUnreachable,
    ),
)

_COMPILED = tuple((re.compile(rule.pattern, re.IGNORECASE | re.DOTALL), rule) for rule in TABLE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(r"^(?:(?:WARNING|Pulled|Digest|Pushed): |(?:time=\S+ )?level=(?:DEBUG|INFO|WARN)|Use --debug|[WI]\d{4} |\s*$)")
# Helm 4 quotes the offending value, which may be a secret: "at '/password': 'hunter2' does not match pattern '^a'".
_QUOTED_VALUE = re.compile(r"(at '[^']*': )'.*'( (?:does not match|is not valid))", re.DOTALL)
_ONE_ERROR = re.compile(r"^(.*)1 error occurred:\n\t\* ")
_WHERE = re.compile(r"(?:[\w.-]+/)?((?:charts/[\w.-]+/)*(?:templates/[\w./-]+)):(\d+)(?::\d+)?")
_YAML_WHERE = re.compile(r"YAML parse error on (?:[\w.-]+/)?(\S+): .*?line (\d+)", re.DOTALL)
_FILE = re.compile(r"cannot load (\S+\.yaml): .*?line (\d+)", re.DOTALL)


def clean_message(stderr: str) -> str:
    """Return Helm's error message without warnings, prefixes and the values that Helm 4 quotes."""
    lines = [_ANSI.sub("", line) for line in stderr.splitlines()]
    text = "\n".join(line for line in lines if not _NOISE.match(line)).strip()
    text = _QUOTED_VALUE.sub(r"\1'***'\2", text.removeprefix("Error: "))
    text = text.removeprefix("UPGRADE FAILED: ").removeprefix("INSTALLATION FAILED: ")
    return _ONE_ERROR.sub(r"\1", text)


def chart_location(message: str) -> str | None:
    """Return the chart's file and line in a message, such as ``templates/service.yaml:7``."""
    for pattern in (_YAML_WHERE, _FILE, _WHERE):
        match = pattern.search(message)
        if match:
            return f"{match[1]}:{match[2]}"
    return None


def helm_error(what: str, stderr: str, status: int) -> KubernautError:
    """Return the error for Helm's message.

    Args:
        what: The action, as the beginning of a sentence: ``Rendering the chart hello-world``.
        stderr: Helm's standard error, redacted.
        status: Helm's exit status; negative for a signal, which is then the reason.
    """
    message = clean_message(stderr)
    if status < 0:
        return HelmFailed(f"{what} failed: Helm was ended by signal {-status}", details=message.splitlines()[-40:])
    message = message or f"Helm exited with status {status} and no message"
    rule = next((rule for pattern, rule in _COMPILED if pattern.search(message)), Rule("", HelmFailed))
    where = chart_location(message) if issubclass(rule.error, ChartInvalid) else None
    first, *rest = message.splitlines()
    if (rule.error is ValuesInvalid and rest) or (rest and rest[0].startswith(("  ", "\t"))):
        first = " ".join([first, *(line.strip() for line in rest)])
    text = f"{what} failed" + (f" at {where}" if where else "") + f": {first.strip()}"
    return rule.error(text, hint=rule.hint, details=message.splitlines()[-40:] if rest else ())
