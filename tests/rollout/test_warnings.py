"""Warnings of the API server reach the user at once, with both Helms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness
from support.rollout_cases import deployment

from kubernaut.events import LogLine, Notice
from kubernaut.settings import load_settings

pytestmark = pytest.mark.platform


@pytest.mark.parametrize("program", ["helm3", "helm4"])
def test_warning_of_the_api_server_is_one_notice(
    platform: Mapping[str, str], helms: Mapping[str, str], tmp_path: Path, program: str
) -> None:
    environment = {**os.environ, **platform, "KUBERNAUT_HELM": helms[program]}
    harness = ClusterHarness(tmp_path, load_settings(environment=environment, directory=tmp_path))
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    body = {"metadata": {"name": harness.namespace, "labels": labels}}
    call_api(harness.cluster, "POST", "/api/v1/namespaces", body=body)
    harness.deploy(deployment() + deployment(name="other"))
    (notice,) = [event.text for event in harness.events if isinstance(event, Notice)]
    assert 'would violate PodSecurity "restricted:latest"' in notice
    assert not [event.text for event in harness.events if isinstance(event, LogLine) and "PodSecurity" in event.text]
    call_api(harness.cluster, "DELETE", f"/api/v1/namespaces/{harness.namespace}")
    harness.cluster.close()
