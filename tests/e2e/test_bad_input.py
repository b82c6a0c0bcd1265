"""Mistakes of a user and failures of the environment: each has a clear error, and nothing is lost."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.checkout import Checkout

pytestmark = pytest.mark.platform


def refused(checkout: Checkout, *arguments: str, code: str, status: int) -> dict[str, object]:
    """Run a command that must fail, and return its problem."""
    problem = checkout.json(*arguments, status=status)
    assert problem["code"] == code, problem
    assert problem["hint"]
    assert problem["detail"]
    for text in ("Traceback", "/tmp/"):  # a person reads it: no internals, no temporary copies
        assert text not in json.dumps(problem).replace(str(checkout.tree.parent), ""), problem
    return problem  # type: ignore[no-any-return]


def shipping(checkout: Checkout) -> tuple[str, ...]:
    return ("ship", str(checkout.app), "-n", checkout.namespace, "--create-namespace", "--timeout", "30s")


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_failed_build_step_shows_its_last_lines(checkout: Checkout) -> None:
    edit(checkout.app / "Dockerfile", "USER", "RUN echo the library is missing; exit 7\nUSER")
    problem = refused(checkout, *shipping(checkout), code="build_failed", status=3)
    assert "the library is missing" in json.dumps(problem)
    assert checkout.json("versions", "hello-world")["items"] == []


def test_other_content_of_a_version_is_a_conflict(checkout: Checkout) -> None:
    checkout.run("publish", str(checkout.app))
    checkout.greet("other")
    problem = refused(checkout, "publish", str(checkout.app), "--version", "1.0.0", code="version_conflict", status=5)
    assert "1.0.0" in str(problem["detail"])


def test_unknown_version_is_not_found(checkout: Checkout) -> None:
    checkout.run("publish", str(checkout.app))
    problem = refused(checkout, "deploy", "hello-world@9.9.9", "-n", checkout.namespace, code="version_not_found", status=4)
    assert "9.9.9" in str(problem["detail"])


def test_values_that_break_the_schema_are_refused(checkout: Checkout) -> None:
    checkout.run("ship", str(checkout.app), "-n", checkout.namespace, "--create-namespace")
    problem = refused(
        checkout, "deploy", "hello-world", "-n", checkout.namespace, "--set", "replicaCount=many", code="values_invalid", status=3
    )
    assert "replicaCount" in json.dumps(problem)
    assert len(checkout.json("history", "hello-world", "-n", checkout.namespace)["items"]) == 1


def test_missing_namespace_is_not_found(checkout: Checkout) -> None:
    checkout.run("publish", str(checkout.app))
    refused(checkout, "deploy", "hello-world", "-n", checkout.namespace, code="namespace_not_found", status=4)


def test_registry_unreachable(checkout: Checkout) -> None:
    down = replace(checkout, environment={**checkout.environment, "KUBERNAUT_REGISTRY": "127.0.0.1:9/missing"})
    refused(down, *shipping(checkout), code="registry_unreachable", status=8)


def test_engine_unreachable(checkout: Checkout) -> None:
    missing = replace(checkout, environment={**checkout.environment, "DOCKER_HOST": f"unix://{checkout.tree.parent}/no.sock"})
    refused(missing, *shipping(checkout), code="engine_unreachable", status=8)
    assert checkout.json("versions", "hello-world")["items"] == []


@pytest.mark.parametrize("verb", ["list", "ship"])
def test_cluster_unreachable(checkout: Checkout, verb: str) -> None:
    config = checkout.tree.parent / "kubeconfig"
    text = Path(checkout.environment["KUBECONFIG"]).read_text()
    config.write_text(re.sub(r"https://127\.0\.0\.1:[0-9]+", "https://127.0.0.1:9", text))
    away = replace(checkout, environment={**checkout.environment, "KUBECONFIG": str(config)})
    refused(away, *(("list",) if verb == "list" else shipping(checkout)), code="cluster_unreachable", status=8)


def test_unknown_context_is_named(checkout: Checkout) -> None:
    problem = refused(checkout, "list", "--context", "nowhere", code="cluster_unreachable", status=8)
    assert "nowhere" in str(problem["detail"])


@pytest.mark.parametrize("name", ["--x", "A", "a" * 54, "..", "a/../b", "hello\n"])
def test_invalid_names_are_refused(checkout: Checkout, name: str) -> None:
    problem = json.loads(checkout.run("deploy", "-n", checkout.namespace, "-o", "json", "--", name, status=3).stdout)
    assert problem["code"] == "name_invalid"


def test_chart_that_runs_another_image_is_refused(checkout: Checkout) -> None:
    for path in (checkout.chart / "templates").glob("deployment.yaml"):
        text = path.read_text().splitlines()
        path.write_text(
            "\n".join("          image: another/image:latest" if line.strip().startswith("image:") else line for line in text)
        )
    refused(checkout, *shipping(checkout), code="image_not_pinned", status=3)
    assert checkout.json("versions", "hello-world")["items"] == []
