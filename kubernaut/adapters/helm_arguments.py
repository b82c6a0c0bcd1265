"""What kubernaut passes to Helm: the values as Helm reads them, arguments, and the variables that it may see. Pure."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernaut.errors import ChartInvalid, ValuesInvalid
from kubernaut.redact import secret_texts

# Helm sees only these variables: a CI job's environment is full of secrets that a chart's plugin must not see.
# fmt: off
_ALLOWED = frozenset((
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY",
    "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME",
    "PASSWORD_STORE_DIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_REGISTRY_CONFIG",
    "HELM_BURST_LIMIT", "HELM_QPS", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "USE_GKE_GCLOUD_AUTH_PLUGIN",
))
# fmt: on
# A kubeconfig's exec plugins (aws, gcloud, kubelogin) and Docker's credential helpers (ecr-login, gcr) need these to log in.
_ALLOWED_PREFIXES = ("AWS_", "AZURE_", "AAD_", "CLOUDSDK_", "GOOGLE_", "LC_")

_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def allowed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that Helm may see."""
    return {name: value for name, value in environment.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)}


def values_input(values: Mapping[str, Any]) -> bytes:
    """Return values as Helm reads them: JSON that is also YAML. Raises: ValuesInvalid."""
    try:
        text = json.dumps(dict(values), ensure_ascii=False, allow_nan=False)
        return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ValuesInvalid(f"The values cannot be written as JSON: {error}.") from error


def checked_chart(chart: str) -> str:
    """Return the chart that Helm gets: a reference of a registry, or an absolute path. Raises: ChartInvalid."""
    if not chart.startswith(("oci://", "/")):
        raise ChartInvalid(f"{chart!r} is neither oci://… nor an absolute path.")
    return chart


def absolute(path: Path) -> str:
    """Return a path as Helm gets it: absolute."""
    return os.fspath(path.absolute())


def go_seconds(seconds: float) -> str:
    """Return a duration as Go reads it, in whole seconds and at least one."""
    return f"{max(1, math.ceil(seconds))}s"


def label_arguments(labels: Mapping[str, str]) -> list[str]:
    """Return the option for labels on Helm's record; none without labels."""
    return ["--labels=" + ",".join(f"{key}={value}" for key, value in sorted(labels.items()))] if labels else []


def flag_arguments(**given: bool) -> list[str]:
    """Return the flags that are given as true."""
    return [f"--{name.replace('_', '-')}" for name, value in given.items() if value]


def secret_arguments(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts below keys of the values that name secrets, longest first: Helm's messages must not repeat them.

    Each is also as Helm quotes it.
    """
    found = {text for _, text in secret_texts(values)}
    return tuple(sorted(found | {json.dumps(text, ensure_ascii=False)[1:-1] for text in found}, key=len, reverse=True))
