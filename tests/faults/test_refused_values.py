"""Values of the wrong type and records that are too large, on the real cluster: refused, and corrected by what the hint says."""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.cluster_harness import ClusterHarness, cluster_harness
from support.messages import facts

from kubernaut.deploy.execute import execute
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import ChartInvalid, KubernautError
from kubernaut.history.detail import Preview

pytestmark = pytest.mark.platform

ANNOTATED = """apiVersion: v1
kind: ConfigMap
metadata: {name: web, annotations: {{ .Values.annotations | default dict | toJson }}}
data:
  version: {{ .Capabilities.KubeVersion.Version }}
  found: {{ len (lookup "v1" "ConfigMap" .Release.Namespace "web") | quote }}
"""


@pytest.fixture
def harness(platform: Mapping[str, str], helms: Mapping[str, str], helm: str, tmp_path: Path) -> Iterator[ClusterHarness]:
    with cluster_harness(platform, helms[helm], tmp_path) as made:
        yield made


def test_boolean_in_an_annotation_is_corrected_by_the_hint(harness: ClusterHarness) -> None:
    harness.deploy(ANNOTATED)
    with pytest.raises(KubernautError) as caught:
        harness.deploy(ANNOTATED, r"annotations.example\.com/scrape=true")
    assert re.search(facts("metadata.annotations", "text", "boolean"), caught.value.message)
    assert harness.history.current is not None
    assert harness.history.current.revision == 1
    command = re.findall(r"`(--set-string .*?)`", caught.value.hint)[0]
    pairs = shlex.split(command)[1:]
    _, changed, release = harness.deploy(ANNOTATED, values=read_values(string_sets=pairs))
    assert changed
    assert release is not None
    assert release.status == "deployed"


def test_large_values_are_named(harness: ClusterHarness) -> None:
    harness.deploy(ANNOTATED)
    noise = random.Random(1).randbytes(900_000).hex()  # noqa: S311 - any noise
    with pytest.raises(ChartInvalid) as caught:
        harness.deploy(ANNOTATED, values=read_values({"text": noise}))
    assert re.search(r"values take \d{3} KiB|values take 1\.\d MiB", caught.value.message)
    assert "values" in caught.value.hint
    assert harness.statuses == ["deployed"]


def test_dry_run_shows_what_the_cluster_would_get(harness: ClusterHarness) -> None:
    harness.deploy(ANNOTATED)
    request = harness.request(ANNOTATED, "annotations.note=new")
    plan = execute(request, context=harness.context, dry_run=True, diff=True).plan
    assert isinstance(plan, Preview)
    assert plan.difference is not None
    assert '+metadata: {name: web, annotations: {"note": "new"}}' in plan.difference.manifest
    assert re.search(r'found: "[1-9]"', plan.difference.manifest)  # `lookup` found the ConfigMap of the release
    assert harness.statuses == ["deployed"]
    harness.deploy(ANNOTATED, "annotations.note=new")
    assert harness.history.records[0].manifest.count('"note":"new"') == 1
