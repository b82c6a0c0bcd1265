"""What Helm's messages mean: one table from what Helm 3 and Helm 4 write to our errors.

Helm has no error codes. The table was recorded from Helm 3.17.3 and 4.2.4 (``tests/unit/clients/test_helm_errors.py`` holds the
messages); what it does not know becomes :class:`HelmFailed` with Helm's own words.
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
class Row:
    """A row of the table: the first whose pattern is found in the message decides.

    Attributes:
        pattern: A regular expression, found anywhere in Helm's message, in upper or lower case.
        error: What the message means.
        hint: The next step, where the error's own hint does not fit.
    """

    pattern: str
    error: type[KubernautError]
    hint: str | None = None


_REGISTRY_URL = r"https?://[^\s\"]+/(?:v2|token)(?:/|\b)"

TABLE = (
    Row(
        r"unknown (?:shorthand )?flag|unknown command",
        ToolMissing,
        "Install Helm 3.17 or newer, or set where it is (`kubernaut config`).",
    ),
    # the registry; before the cluster, since both fail with the same words of Go's network library
    Row(
        r"server gave http response to https client",
        RegistryUnreachable,
        "The registry speaks plain HTTP: name it in the `plain_http` setting (`kubernaut config`).",
    ),
    Row(rf"{_REGISTRY_URL}.*(?:\b401\b|\b403\b|unauthorized|denied|forbidden)", RegistryDenied),
    Row(
        r"response status code (?:401|403)|unauthorized: authentication required|no basic auth credentials|: denied: ",
        RegistryDenied,
    ),
    Row(r"manifest unknown|name unknown|(?:@sha256:|oci://)\S+: not found|chart \"[^\"]+\".* not found", VersionNotFound),
    Row(rf"{_REGISTRY_URL}|failed to do request|response status code 5\d\d", RegistryUnreachable),
    # the cluster
    Row(r"kubernetes cluster unreachable: .*(?:unauthorized|asked for the client to provide credentials|forbidden)", ClusterDenied),
    Row(r"asked for the client to provide credentials|getting credentials: exec|error: unauthorized", ClusterDenied),
    Row(r"kubernetes cluster unreachable", ClusterUnreachable),
    Row(r"another operation \(install/upgrade/rollback\) is in progress", ReleaseLocked),
    Row(
        r"release: already exists|cannot re-?use a name that is still in use",
        ReleaseLocked,
        "Somebody else deployed it at the same moment.",
    ),
    Row(r"is already deleted", Conflict, "It is deleted already: there is nothing to do."),
    Row(r"namespaces? \"[^\"]+\" not found", NamespaceNotFound),
    Row(r"is being terminated|because it is being terminated", Conflict, "The namespace is being deleted: wait until it is gone."),
    Row(
        r"is forbidden: (?:user|exceeded quota|.*is not allowed)|cannot (?:get|list|create|update|patch|delete) resource",
        ClusterDenied,
    ),
    Row(r"release: not found|has no deployed releases|release has no \S+ version|no release provided", ReleaseNotFound),
    # the values and the chart
    Row(r"values don't meet the specifications of the schema|failed to parse -", ValuesInvalid),
    Row(
        r"data: too long: may not be more than|request entity too large|etcdserver: request is too large",
        ChartInvalid,
        "The chart is too large.",
    ),
    Row(
        r"template: |yaml parse error on|execution error at|parse error at|function \"[^\"]+\" not defined|error calling "
        r"|\S+/templates/\S+:\d+:\d+",
        ChartInvalid,
    ),
    Row(
        r"cannot load (?:chart|values)\.yaml|chart\.yaml file is missing|unable to detect chart at|validation: chart\.metadata",
        ChartInvalid,
    ),
    Row(
        r"failed to save: invalid json in values\.schema\.json|file .* is larger than the maximum|chart metadata"
        r"|path \"[^\"]+\" not found",
        ChartInvalid,
    ),
    Row(r"unable to build kubernetes objects|error validating|no matches for kind|error converting yaml to json", ChartInvalid),
    Row(
        r"exists and cannot be imported into the current release|invalid ownership metadata",
        Conflict,
        "The chart makes an object that already exists and belongs to something else: rename one of them, or delete the other.",
    ),
    Row(r"release name is invalid", NameInvalid),
    Row(
        r"sh\.helm\.release\.v1\.\S+.* field is immutable",
        Conflict,
        "Its record was fenced: somebody has unlocked the release and works on it now.",
    ),
    Row(
        r" is invalid: |cannot be handled as a |failed to create typed patch object",
        BadInput,
        "Correct the chart or its values: Kubernetes refused the object.",
    ),
    # while it waited
    Row(r"timed out waiting|context deadline exceeded|would exceed context deadline|resource not ready", DeadlineExceeded),
    Row(
        r"dial tcp|connection refused|connection reset|no such host|i/o timeout|tls handshake|x509: |etcdserver: |http2: |: EOF",
        ClusterUnreachable,
    ),
)

_ROWS = tuple((re.compile(row.pattern, re.IGNORECASE | re.DOTALL), row) for row in TABLE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(r"^(?:(?:WARNING|Pulled|Digest|Pushed): |(?:time=\S+ )?level=(?:DEBUG|INFO|WARN)|Use --debug|[WI]\d{4} |\s*$)")
# Helm 4 quotes the offending value, which may be a secret: "at '/password': 'hunter2' does not match pattern '^a'".
_QUOTED_VALUE = re.compile(r"(at '[^']*': )'.*'( (?:does not match|is not valid))", re.DOTALL)
_ONE_ERROR = re.compile(r"^(.*)1 error occurred:\n\t\* ")
_WHERE = re.compile(r"(?:[\w.-]+/)?((?:charts/[\w.-]+/)*(?:templates/[\w./-]+)):(\d+)(?::\d+)?")
_YAML_WHERE = re.compile(r"YAML parse error on (?:[\w.-]+/)?(\S+): .*?line (\d+)", re.DOTALL)
_FILE = re.compile(r"cannot load (\S+\.yaml): .*?line (\d+)", re.DOTALL)


def said(stderr: str) -> str:
    """Return Helm's message without its warnings, its ``Error:`` and the values that Helm 4 quotes."""
    lines = [_ANSI.sub("", line) for line in stderr.splitlines()]
    text = "\n".join(line for line in lines if not _NOISE.match(line)).strip()
    text = _QUOTED_VALUE.sub(r"\1'***'\2", text.removeprefix("Error: "))
    text = text.removeprefix("UPGRADE FAILED: ").removeprefix("INSTALLATION FAILED: ")
    return _ONE_ERROR.sub(r"\1", text)


def place(message: str) -> str | None:
    """Return the file and line of a chart that a message speaks of, such as ``templates/service.yaml:7``."""
    for pattern in (_YAML_WHERE, _FILE, _WHERE):
        match = pattern.search(message)
        if match:
            return f"{match[1]}:{match[2]}"
    return None


def explain(what: str, stderr: str, status: int) -> KubernautError:
    """Return the error that Helm's message means.

    Args:
        what: What was being done, as the beginning of a sentence: ``Rendering the chart hello-world``.
        stderr: What Helm wrote on its standard error, already redacted.
        status: Helm's exit status; negative for a signal, which is the reason then and not what Helm wrote.
    """
    message = said(stderr)
    if status < 0:
        return HelmFailed(f"{what} failed: it was ended by signal {-status}", details=message.splitlines()[-40:])
    message = message or f"it ended with status {status} and said nothing"
    row = next((row for pattern, row in _ROWS if pattern.search(message)), Row("", HelmFailed))
    where = place(message) if issubclass(row.error, ChartInvalid) else None
    first, *rest = message.splitlines()
    if (row.error is ValuesInvalid and rest) or (rest and rest[0].startswith(("  ", "\t"))):
        first = " ".join([first, *(line.strip() for line in rest)])
    text = f"{what} failed" + (f" at {where}" if where else "") + f": {first.strip()}"
    return row.error(text, hint=row.hint, details=message.splitlines()[-40:] if rest else ())
