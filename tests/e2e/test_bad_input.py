"""What a user may get wrong, and what the world may: each has a clear error, and nothing is lost."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.world import World

pytestmark = pytest.mark.platform


def refused(world: World, *arguments: str, code: str, status: int) -> dict[str, object]:
    """Run a command that must fail, and return its problem."""
    problem = world.json(*arguments, status=status)
    assert problem["code"] == code, problem
    assert problem["hint"]
    assert problem["detail"]
    for text in ("Traceback", "/tmp/"):  # a person reads it: no internals, no temporary copies
        assert text not in json.dumps(problem).replace(str(world.tree.parent), ""), problem
    return problem  # type: ignore[no-any-return]


def shipping(world: World) -> tuple[str, ...]:
    return ("ship", str(world.app), "-n", world.namespace, "--create-namespace", "--timeout", "30s")


def edit(path: Path, old: str, new: str) -> None:
    """Replace what must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_failing_run_shows_its_last_lines(world: World) -> None:
    edit(world.app / "Dockerfile", "USER", "RUN echo the library is missing; exit 7\nUSER")
    problem = refused(world, *shipping(world), code="build_failed", status=3)
    assert "the library is missing" in json.dumps(problem)
    assert world.json("versions", "hello-world")["items"] == []


def test_another_content_under_the_same_version(world: World) -> None:
    world.run("publish", str(world.app))
    world.greet("other")
    problem = refused(world, "publish", str(world.app), "--version", "1.0.0", code="version_conflict", status=5)
    assert "1.0.0" in str(problem["detail"])


def test_an_unknown_version(world: World) -> None:
    world.run("publish", str(world.app))
    problem = refused(world, "deploy", "hello-world@9.9.9", "-n", world.namespace, code="version_not_found", status=4)
    assert "9.9.9" in str(problem["detail"])


def test_values_against_the_schema(world: World) -> None:
    world.run("ship", str(world.app), "-n", world.namespace, "--create-namespace")
    problem = refused(
        world, "deploy", "hello-world", "-n", world.namespace, "--set", "replicaCount=many", code="values_invalid", status=3
    )
    assert "replicaCount" in json.dumps(problem)
    assert len(world.json("history", "hello-world", "-n", world.namespace)["items"]) == 1


def test_a_namespace_that_is_not_there(world: World) -> None:
    world.run("publish", str(world.app))
    refused(world, "deploy", "hello-world", "-n", world.namespace, code="namespace_not_found", status=4)


def test_the_registry_down(world: World) -> None:
    down = replace(world, environment={**world.environment, "KUBERNAUT_REGISTRY": "127.0.0.1:9/nobody"})
    refused(down, *shipping(world), code="registry_unreachable", status=8)


def test_the_engine_missing(world: World) -> None:
    missing = replace(world, environment={**world.environment, "DOCKER_HOST": f"unix://{world.tree.parent}/no.sock"})
    refused(missing, *shipping(world), code="engine_unreachable", status=8)
    assert world.json("versions", "hello-world")["items"] == []


@pytest.mark.parametrize("verb", ["list", "ship"])
def test_the_cluster_unreachable(world: World, verb: str) -> None:
    config = world.tree.parent / "kubeconfig"
    text = Path(world.environment["KUBECONFIG"]).read_text()
    config.write_text(re.sub(r"https://127\.0\.0\.1:[0-9]+", "https://127.0.0.1:9", text))
    away = replace(world, environment={**world.environment, "KUBECONFIG": str(config)})
    refused(away, *(("list",) if verb == "list" else shipping(world)), code="cluster_unreachable", status=8)


def test_a_context_that_is_not_in_the_kubeconfig(world: World) -> None:
    problem = refused(world, "list", "--context", "nowhere", code="cluster_unreachable", status=8)
    assert "nowhere" in str(problem["detail"])


@pytest.mark.parametrize("name", ["--x", "A", "a" * 54, "..", "a/../b", "hello\n"])
def test_names_that_helm_would_take_for_something_else(world: World, name: str) -> None:
    problem = json.loads(world.run("deploy", "-n", world.namespace, "-o", "json", "--", name, status=3).stdout)
    assert problem["code"] == "name_invalid"


def test_an_image_that_the_chart_does_not_run(world: World) -> None:
    for path in (world.chart / "templates").glob("deployment.yaml"):
        text = path.read_text().splitlines()
        path.write_text(
            "\n".join("          image: somebody/else:latest" if line.strip().startswith("image:") else line for line in text)
        )
    refused(world, *shipping(world), code="image_not_pinned", status=3)
    assert world.json("versions", "hello-world")["items"] == []
