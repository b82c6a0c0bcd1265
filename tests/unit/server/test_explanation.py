"""Causes and evidence over HTTP: the explanation of a release, single releases with evidence, and lists without."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.in_process_server import InProcessServer
from support.records import EVIDENCE, SENTENCE, write_rolled_back

from kubernaut.server.routes import releases
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    """A server of a cluster with a release that was rolled back."""
    cluster = FakeCluster("demo")
    write_rolled_back(cluster)
    served = InProcessServer(tmp_path, releases.routes, cluster)
    served.context.index.load()
    return served


@pytest.mark.parametrize("id", ["demo.hello", "demo.hello.current", "demo.hello.v2"])
def test_explanation_of_a_name_is_that_of_its_last_change(server: InProcessServer, id: str) -> None:
    content = server.get(f"/api/releases/{id}/explanation").json
    assert (content["id"], content["state"], content["cause"]) == ("demo.hello.v2", "failed", "image_not_found")
    assert (content["sentence"], content["operation"], content["verb"]) == (SENTENCE, "op", "deploy")
    assert [(one["kind"], one["about"], one["text"]) for one in content["evidence"]] == [
        (one.kind, one.about, one.text) for one in EVIDENCE
    ]


def test_explanation_of_a_release_that_succeeded_names_the_failed_one(server: InProcessServer) -> None:
    content = server.get("/api/releases/demo.hello.v3/explanation").json
    assert (content["state"], content["cause"], content["evidence"]) == ("succeeded", None, [])
    assert content["lastFailed"] == "demo.hello.v2"


def test_single_release_has_evidence_and_lists_have_causes_only(server: InProcessServer) -> None:
    single = server.get("/api/releases/demo.hello.v2").json["outcome"]
    assert [one["kind"] for one in single["evidence"]] == [one.kind for one in EVIDENCE]
    for path in ("/api/releases?all=true", "/api/releases/demo.hello/history"):
        items = server.get(path).json["items"]
        outcome = next(item["outcome"] for item in items if item["id"] == "demo.hello.v2")
        assert outcome == {"reason": "deploy_failed", "message": SENTENCE, "cause": "image_not_found"}
