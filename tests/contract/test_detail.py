"""Values, manifest and diff of a release agree with plain Helm's, but for masked secrets; on the platform."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import write_chart

from kubernaut import Kubernaut, load_settings

pytestmark = pytest.mark.platform

VALUES = """\
keep: 1
gone: 2
map: {x: 1, off: 1, y: {z: 1}}
list: [1, 2]
flat: {a: 1}
greeting: hello
dbPassword: canary-8f3a-default
"""
CONFIG = {
    "gone": None,
    "map": {"off": None, "y": {"w": 2}},
    "list": [3],
    "flat": 7,
    "own": None,
    "dbPassword": "canary-8f3a-own",
}
TEMPLATE = """\
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}
stringData:
  password: {{ .Values.dbPassword }}
  mode: "0644"
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting }}
  on: "yes"
  text: |
    one
    two
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {"helm.sh/hook": pre-install}
data:
  password: {{ .Values.dbPassword }}
"""


@pytest.fixture(scope="module")
def namespace(platform: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A namespace with a release that plain Helm installed and upgraded."""
    name = f"d-{uuid.uuid4().hex[:8]}"
    chart = write_chart(tmp_path_factory.mktemp("charts"), template=TEMPLATE, values=VALUES)
    arguments = ("-n", name, "--values", "-")
    helm(platform, "install", "shop", str(chart), *arguments, "--create-namespace", given=CONFIG)
    changed = {**CONFIG, "greeting": "good day", "dbPassword": "canary-8f3a-new"}
    helm(platform, "upgrade", "shop", str(chart), *arguments, given=changed)
    return name


@pytest.fixture
def kubernaut(platform: dict[str, str], tmp_path: Path) -> Kubernaut:
    return Kubernaut(load_settings(environment={**os.environ, **platform}, directory=tmp_path))


def helm(platform: Mapping[str, str], *arguments: str, given: Any = None) -> str:
    done = subprocess.run(
        ["helm", *arguments],
        input=json.dumps(given),
        env={**os.environ, **platform},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def hidden(value: Any) -> Any:
    """Return values as they may be shown: with the password masked, which is all that is secret here."""
    return {key: "***" if key == "dbPassword" else item for key, item in value.items()}


@pytest.mark.parametrize("all", [False, True])
def test_values_are_those_of_helm(platform: dict[str, str], namespace: str, kubernaut: Kubernaut, all: bool) -> None:
    theirs = helm(platform, "get", "values", "shop", "-n", namespace, "-o", "json", *(["--all"] if all else []))
    assert kubernaut.values("shop", namespace=namespace, all=all) == hidden(json.loads(theirs))


def test_manifest_is_helms_followed_by_hooks(platform: dict[str, str], namespace: str, kubernaut: Kubernaut) -> None:
    theirs = "\n".join(helm(platform, "get", part, "shop", "-n", namespace) for part in ("manifest", "hooks"))
    ours = kubernaut.manifest("shop", namespace=namespace)
    assert "canary" not in ours
    secret, config, hook = yaml.safe_load_all(ours)
    assert secret["stringData"] == {"password": "***", "mode": "***"}
    assert hook["data"] == {"password": "***"}
    shown = [{**document, "data": None, "stringData": None} for document in (secret, config, hook)]
    assert shown == [{**document, "data": None, "stringData": None} for document in yaml.safe_load_all(theirs) if document]
    assert config in list(yaml.safe_load_all(theirs))
    assert [line for line in ours.splitlines() if line.startswith("#")] == [
        line for line in theirs.splitlines() if line.startswith("# Source")
    ]


def test_diff_masks_secrets(namespace: str, kubernaut: Kubernaut) -> None:
    found = kubernaut.diff("shop", namespace=namespace)
    assert "canary" not in found.model_dump_json()
    assert {value.path: (value.from_, value.to) for value in found.values} == {
        "greeting": (None, "good day"),
        "dbPassword": ("***", "*** (changed)"),
    }
    assert "-  greeting: hello\n+  greeting: good day\n" in found.manifest
    assert "-  password: '***'\n+  password: '***' # changed\n" in found.manifest
    assert found.chart is found.images is found.app_version is None
