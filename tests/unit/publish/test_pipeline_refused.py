from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.publishing import chart_in, go, outcomes
from support.source_tree import PushingHelm, SourceTree, write

from kubernaut.errors import (
    BuildFailed,
    ChartInvalid,
    DockerfileInvalid,
    EngineUnreachable,
    ImageNotPinned,
    KubernautError,
    RegistryDenied,
    RegistryUnreachable,
    ShallowClone,
    ValuesInvalid,
)
from kubernaut.events import StepFinished, StepOutcome
from kubernaut.testing.registry import CUT, FakeRegistry

HOOK = """\
kind: Pod
metadata:
  annotations:
    "helm.sh/hook": test
image: {{ .Values.image.repository }}@{{ .Values.image.digest }}
---
kind: Pod
image: nginx:latest
"""


def refuse(tree: SourceTree, registry: FakeRegistry, expected: type[KubernautError], match: str, **named: str) -> KubernautError:
    with pytest.raises(expected, match=match) as caught:
        go(tree, registry, **named)
    assert registry.tags("charts/shop") == []
    assert str(tree.temporary) not in json.dumps(caught.value.problem())
    return caught.value


def test_a_failing_run(tree: SourceTree, registry: FakeRegistry) -> None:
    write(tree.app / "Dockerfile", "FROM node:22-slim\nRUN echo the library is missing; exit 7\n")
    error = refuse(tree, registry, BuildFailed, r"Step 2/3 : RUN echo the library is missing")
    assert "the library is missing" in error.details
    assert registry.tags("shop") == []
    assert ("build", "failed") in outcomes(tree)


def test_no_dockerfile(tree: SourceTree, registry: FakeRegistry) -> None:
    (tree.app / "Dockerfile").unlink()
    refuse(tree, registry, DockerfileInvalid, "Dockerfile")
    assert tree.events == []


def test_the_engine_is_missing(tree: SourceTree, registry: FakeRegistry) -> None:
    tree.engine.running = False
    refuse(tree, registry, EngineUnreachable, "ngine")


def test_the_registry_is_down_before(tree: SourceTree, registry: FakeRegistry) -> None:
    registry.stop()
    with pytest.raises(RegistryUnreachable, match=r"127\.0\.0\.1:\d+ .*Connection refused"):
        go(tree, registry)
    assert tree.engine.builds == []


@pytest.mark.parametrize("status", [CUT, 500, 503])
@pytest.mark.parametrize(
    "what", ["POST /v2/shop/blobs", "PUT /v2/shop/manifests", "POST /v2/charts/shop", "PUT /v2/charts/shop/manifests"]
)
def test_the_registry_goes_down_during_a_push(tree: SourceTree, registry: FakeRegistry, what: str, status: int) -> None:
    tree.helm = PushingHelm
    registry.fail(what, status)
    refuse(tree, registry, RegistryUnreachable, "shop")
    registry.heal()
    assert go(tree, registry).version == "1.0.0"


@pytest.mark.parametrize("what", ["PUT /v2/shop/manifests", "PUT /v2/charts/shop/manifests", "GET /v2/charts/shop"])
def test_the_registry_refuses(tree: SourceTree, registry: FakeRegistry, what: str) -> None:
    registry.fail(what, 403)
    refuse(tree, registry, RegistryDenied, "refuse|denied|403")


@pytest.mark.parametrize(
    ("name", "text", "expected", "match"),
    [
        ("templates/bad.yaml", "a: {{ .Values.none.at.all }}\n", ChartInvalid, r"charts/web/templates/bad\.yaml:1: "),
        ("templates/bad.yaml", "a: b\n  c: d: e\n", ChartInvalid, r"charts/web/templates/bad\.yaml"),
        ("templates/bad.yaml", "{{ if }}\n", ChartInvalid, r"templates/bad\.yaml:1"),
        ("Chart.yaml", "apiVersion: v2\nname: [\n", ChartInvalid, r"charts/web/Chart\.yaml:3: "),
        ("Chart.yaml", "- a\n", ChartInvalid, r"charts/web/Chart\.yaml:1: "),
        ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.0.0\ntype: library\n", KubernautError, "library"),
        ("values.yaml", "replicas: 1\nimage: nginx\n", ChartInvalid, r"charts/web/values\.yaml:2: image "),
        ("values.yaml", "replicas: 1\n a: 2\n", ChartInvalid, r"charts/web/values\.yaml:2: "),
        (
            "values.yaml",
            "replicas: 1\nreplicas: 2\n",
            ChartInvalid,
            r"charts/web/values\.yaml:2: .*'replicas'",
        ),
        ("values.yaml", "replicas: many\n", ValuesInvalid, "replicas"),
        ("values.schema.json", "{\n", ChartInvalid, r"web/values\.schema\.json:2: "),
        (
            "templates/deployment.yaml",
            "kind: Pod\nimage: nginx:latest\n",
            ImageNotPinned,
            r"charts/web.*nginx:latest",
        ),
        ("templates/deployment.yaml", "kind: Pod\n", ImageNotPinned, "charts/web"),
        ("templates/deployment.yaml", HOOK, ImageNotPinned, "nginx:latest"),
        (".helmignore", "environments/\n", ChartInvalid, r"\.helmignore .*environments/production\.yaml"),
    ],
)
def test_a_chart_that_cannot_be_published(
    tree: SourceTree, registry: FakeRegistry, name: str, text: str, expected: type[KubernautError], match: str
) -> None:
    write(tree.chart / name, text)
    refuse(tree, registry, expected, match)
    assert registry.tags("shop") == [] or name == ".helmignore"


@pytest.mark.parametrize(
    ("text", "expected", "match"),
    [
        ("replicas: many\n", ValuesInvalid, r"apps/shop/values/production\.yaml.*replicas"),
        ("image: {digest: 'sha256:0'}\n", ImageNotPinned, r"values/production\.yaml"),
        ("a: 1\na: 2\n", ValuesInvalid, r"values/production\.yaml.*2: .*'a'"),
        ("a: [\n", ValuesInvalid, r"values/production\.yaml.*2: "),
        ("- a\n", ValuesInvalid, r"values/production\.yaml "),
    ],
)
def test_values_that_cannot_be_published(
    tree: SourceTree, registry: FakeRegistry, text: str, expected: type[KubernautError], match: str
) -> None:
    write(tree.app / "values" / "production.yaml", text)
    refuse(tree, registry, expected, match)
    assert registry.tags("shop") == []


def test_a_wrong_chart_stops_the_build(tree: SourceTree, registry: FakeRegistry) -> None:
    write(tree.chart / "values.yaml", "- no mapping\n")
    over = tree.engine.build
    went_on: list[str] = []

    def slow(*arguments: object, log: Callable[[str], None], **named: object) -> str:
        for _ in range(500):
            log("still building")
            os.sched_yield()
            if any(isinstance(event, StepFinished) for event in tree.events):
                break
            __import__("threading").Event().wait(0.01)
        went_on.append("x")
        return over(*arguments, log=log, **named)  # type: ignore[arg-type]

    tree.engine.build = slow  # type: ignore[method-assign]
    refuse(tree, registry, ChartInvalid, r"values\.yaml:1: ")
    assert went_on == []
    assert outcomes(tree) == [("build", StepOutcome.UNCHANGED.value), ("package", StepOutcome.FAILED.value)]


def test_the_chart_has_a_file_in_an_environments_place(tree: SourceTree, registry: FakeRegistry) -> None:
    write(tree.chart / "environments" / "production.yaml", "replicas: 9\n")
    refuse(tree, registry, ChartInvalid, r"environments/production\.yaml")


def test_a_chart_that_is_linked_together(tree: SourceTree, registry: FakeRegistry, tmp_path: Path) -> None:
    (tree.chart / "templates" / "linked.yaml").symlink_to("../more.yaml")
    write(tree.chart / "more.yaml", "kind: ConfigMap\n")
    go(tree, registry, version="3.0.0")
    assert (chart_in(registry, tmp_path / "unpacked", "3.0.0") / "templates" / "linked.yaml").read_text() == "kind: ConfigMap\n"


def test_a_file_too_large_for_helm(tree: SourceTree, registry: FakeRegistry) -> None:
    (tree.chart / "large").write_bytes(b"x" * (5 * 1024 * 1024 + 1))
    refuse(tree, registry, ChartInvalid, "large")


def test_a_shallow_clone(tree: SourceTree, registry: FakeRegistry) -> None:
    tree.commit("apps/shop/index.js")
    (tree.root / ".git" / "shallow").write_text(tree.git("rev-parse", "HEAD"))
    error = refuse(tree, registry, ShallowClone, "shallow")
    assert "git fetch --unshallow --tags" in error.hint
    assert go(tree, registry, version="4.0.0").version == "4.0.0"
