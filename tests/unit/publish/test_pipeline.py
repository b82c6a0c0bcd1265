from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests.adapters
import yaml
from support.messages import facts
from support.publishing import chart_in, go, outcomes
from support.source_tree import PushingHelm, SourceTree, write

from kubernaut.ci import CiBuild
from kubernaut.errors import ImageNotFound, RegistryUnreachable, SettingInvalid, VersionConflict
from kubernaut.events import StepFinished, StepOutcome, StepStarted
from kubernaut.publish.pipeline import BuiltImage, build_image, publish
from kubernaut.publish.version import PublishedVersion, SourceOfVersion
from kubernaut.testing.registry import FakeRegistry

BUILD = {"JOB_NAME": "team/shop-release", "BUILD_NUMBER": "7", "BUILD_TAG": "jenkins-shop-release-7"}


def test_a_folder_becomes_a_version(tree: SourceTree, registry: FakeRegistry, tmp_path: Path) -> None:
    plan, changed, published = publish(tree.app, version=None, image=None, dry_run=False, context=tree.context(registry.address))
    assert changed
    assert [action.kind for action in plan.actions] == ["build-image", "push-image", "push-chart"]
    assert published is not None
    assert (published.name, published.version) == ("shop", "1.0.0")
    assert published.image.ref == f"{registry.address}/shop@{published.image.digest}"
    assert published.chart.ref == f"{registry.address}/charts/shop:1.0.0"
    assert published.source.commit == tree.git("rev-parse", "HEAD").strip()
    assert published.environments == ("production",)
    assert registry.manifest("shop", published.image.digest) == registry.manifest("shop", "1.0.0")
    assert outcomes(tree) == [("build", "done"), ("push image", "done"), ("package", "done"), ("push chart", "done")]
    assert tree.git("status", "--porcelain") == ""
    chart = chart_in(registry, tmp_path / "unpacked")
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert (metadata["name"], metadata["version"], metadata["appVersion"]) == ("shop", "1.0.0", "1.0.0")
    assert metadata["annotations"]["kubernaut/image"] == published.image.ref
    assert metadata["annotations"]["kubernaut/on-failure"] == "rollback"
    values = (chart / "values.yaml").read_text()
    assert values.startswith("# how many\nreplicas: 1\n")
    assert yaml.safe_load(values)["image"] == {
        "repository": f"{registry.address}/shop",
        "tag": "1.0.0",
        "digest": published.image.digest,
    }
    assert (chart / "environments" / "production.yaml").read_text() == "replicas: 3\n"


def test_repeated_publish_sends_one_request(tree: SourceTree, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    first = go(tree, registry)
    sent: list[str] = []
    over = requests.adapters.HTTPAdapter.send

    def send(self: object, request: requests.PreparedRequest, *arguments: object, **named: object) -> requests.Response:
        sent.append(f"{request.method} {request.url}")
        return over(self, request, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    tree.engine.running, tree.helm_starts = False, 0
    tree.events.clear()
    plan, changed, again = publish(tree.app, version=None, image=None, dry_run=False, context=tree.context(registry.address))
    assert (changed, again) == (False, first)
    assert not plan.changes
    assert re.search(facts("shop", "1.0.0"), str(plan.reason))
    assert sent == [f"GET http://{registry.address}/v2/charts/shop/manifests/1.0.0"]
    assert tree.helm_starts == 0
    assert outcomes(tree) == [("publish", "unchanged")]


def test_another_content_under_the_same_version(tree: SourceTree, registry: FakeRegistry) -> None:
    tree.helm = PushingHelm
    first = go(tree, registry)
    write(tree.app / "index.js", "// other\n")
    pushed = list(tree.engine.pushes)
    with pytest.raises(VersionConflict, match=r"shop 1\.0\.0 .*source sha256:"):
        go(tree, registry, version="1.0.0")
    assert tree.engine.pushes == pushed
    assert tree.context(registry.address).registry.find("shop", "1.0.0") == first
    assert go(tree, registry).version.startswith("1.0.1-dev.0.g")


def test_a_dry_run_touches_nothing(tree: SourceTree, registry: FakeRegistry) -> None:
    tree.engine.running = False
    plan, changed, published = publish(tree.app, version=None, image=None, dry_run=True, context=tree.context(registry.address))
    assert (changed, published) == (False, None)
    assert [action.kind for action in plan.actions] == ["build-image", "push-image", "push-chart"]
    assert {method for method, _ in registry.requests} == {"GET"}
    assert [event.outcome for event in tree.events if isinstance(event, StepFinished)] == [StepOutcome.PLANNED]
    assert tree.helm_starts == 0


def test_an_image_of_another_publisher(tree: SourceTree, registry: FakeRegistry) -> None:
    digest = registry.put_manifest("others/image", "x", b"{}")
    image = f"{registry.address}/others/image@{digest}"
    (tree.app / "Dockerfile").unlink()
    tree.engine.running = False
    published = go(tree, registry, image=image, version="2.0.0")
    assert published.image.ref == image
    assert outcomes(tree) == [("package", "done"), ("push chart", "done")]
    assert go(tree, registry, image=image, version="2.0.0") == published
    other = registry.put_manifest("others/image", "y", b'{"a": 1}')
    with pytest.raises(VersionConflict, match=r"shop 2\.0\.0 .*@sha256:"):
        go(tree, registry, image=f"{registry.address}/others/image@{other}", version="2.0.0")
    with pytest.raises(ImageNotFound):
        go(tree, registry, image=f"{registry.address}/others/image@sha256:{'0' * 64}", version="3.0.0")


def test_nodes_may_know_the_registry_by_another_name(tree: SourceTree, registry: FakeRegistry, tmp_path: Path) -> None:
    published = go(tree, registry, pull_registry="registry.internal:5000/mirror")
    assert published.image.ref.startswith("registry.internal:5000/mirror/shop@sha256:")
    assert tree.engine.pushes == [f"{registry.address}/shop:1.0.0"]


def test_images_and_charts_must_not_meet(tree: SourceTree, registry: FakeRegistry) -> None:
    with pytest.raises(SettingInvalid, match="/shop"):
        go(tree, registry, chart_registry=registry.address)
    with pytest.raises(SettingInvalid):
        publish(tree.app, version=None, image=None, dry_run=False, context=tree.context(""))


def test_commit_of_an_exported_source_comes_from_the_ci_server(tree: SourceTree, registry: FakeRegistry) -> None:
    shutil.rmtree(tree.root / ".git")
    tree.chart.rename(tree.app / "chart")
    file = tree.app / "kubernaut.yaml"
    write(file, file.read_text().replace("../../charts/web", "chart"))
    tree.variables = {**BUILD, "GIT_COMMIT": "f" * 40, "GIT_URL": "https://ada:canary@git.example.com/shop.git"}
    published = go(tree, registry)
    assert (published.source.commit, published.source.repository) == ("f" * 40, "https://git.example.com/shop.git")
    assert published.version.startswith("0.0.0-dev.src.")
    tree.variables = {"GIT_COMMIT": "$(id)", "GIT_URL": "a b"}
    assert go(tree, registry, version="2.0.0").source == SourceOfVersion()


def test_facts_go_with_the_version(tree: SourceTree, registry: FakeRegistry, tmp_path: Path) -> None:
    tree.git("remote", "add", "origin", "https://ada:canary@git.example.com/shop.git")
    write(
        tree.app / "kubernaut.yaml",
        (tree.app / "kubernaut.yaml").read_text() + "probe: {path: /healthz, port: http}\nonFailure: keep\n",
    )
    tree.commit()
    tree.variables = {**BUILD, "BUILD_URL": "https://ada:canary@ci.example.com/job/7/", "GIT_COMMIT": "f" * 40, "GIT_URL": "x"}
    published = go(tree, registry, version="2.0.0")
    assert published.source.repository == "https://git.example.com/shop.git"
    assert published.source.commit == tree.git("rev-parse", "HEAD").strip(), "in a work tree git decides"
    known = CiBuild(url="https://ci.example.com/job/7/", job="team/shop-release", number=7, tag="jenkins-shop-release-7")
    assert published.build == known
    annotations = yaml.safe_load((chart_in(registry, tmp_path / "unpacked", "2.0.0") / "Chart.yaml").read_text())["annotations"]
    assert json.loads(annotations["kubernaut/probe"]) == {"path": "/healthz", "port": "http"}
    assert annotations["kubernaut/on-failure"] == "keep"
    labels = tree.engine.find_image({"org.opencontainers.image.source": "https://git.example.com/shop.git"})
    assert labels is not None
    assert "canary" not in repr(tree.events) + repr(published)


def test_uncommitted_changes_are_reported(tree: SourceTree, registry: FakeRegistry) -> None:
    write(tree.app / "index.js", "// other\n")
    published = go(tree, registry)
    assert published.source.commit == tree.git("rev-parse", "HEAD").strip() + "-dirty"
    assert published.created_at is not None  # Helm's own time: the commit's would be a lie


def test_an_interrupted_publication_goes_on(tree: SourceTree, registry: FakeRegistry) -> None:
    tree.helm = PushingHelm
    registry.fail("PUT /v2/charts/shop/manifests", 500)
    with pytest.raises(RegistryUnreachable):
        go(tree, registry)
    assert tree.context(registry.address).registry.versions("shop") == []
    registry.heal()
    tree.events.clear()
    go(tree, registry)
    assert outcomes(tree)[0] == ("build", "unchanged")
    assert len(tree.engine.builds) == 1


@pytest.mark.parametrize("name", ["build", "push image", "package", "push chart"])
def test_stopped_at_any_step_nothing_is_left_and_the_next_run_works(tree: SourceTree, registry: FakeRegistry, name: str) -> None:
    context = tree.context(registry.address)

    def stop(event: object) -> None:
        if isinstance(event, StepStarted) and event.step == name:
            raise KeyboardInterrupt

    context.progress.listener = stop
    with pytest.raises(KeyboardInterrupt):
        publish(tree.app, version=None, image=None, dry_run=False, context=context)
    assert list(tree.temporary.iterdir()) == []
    assert context.registry.versions("shop") == []
    assert go(tree, registry).version == "1.0.0"
    assert tree.git("status", "--porcelain") == ""


# races


def racing(tree: SourceTree, registry: FakeRegistry, step: str, act: Callable[[], object]) -> PublishedVersion:
    tree.helm = PushingHelm
    context = tree.context(registry.address)
    done: list[bool] = []

    def listen(event: object) -> None:
        tree.events.append(event)  # type: ignore[arg-type]
        if isinstance(event, StepStarted) and event.step == step and not done:
            done.append(True)
            act()

    context.progress.listener = listen
    published = publish(tree.app, version=None, image=None, dry_run=False, context=context)[2]
    assert published is not None
    return published


def test_another_publisher_wins_with_the_same_content(tree: SourceTree, registry: FakeRegistry) -> None:
    others: list[PublishedVersion] = []
    mine = racing(tree, registry, "push chart", lambda: others.append(go(tree, registry)))
    assert mine == others[0]
    assert outcomes(tree)[-1] == ("push chart", "unchanged")


def test_another_publisher_finishes_the_same_content_during_the_build(tree: SourceTree, registry: FakeRegistry) -> None:
    others: list[PublishedVersion] = []
    mine = racing(tree, registry, "build", lambda: others.append(go(tree, registry)))
    assert mine == others[0]
    assert outcomes(tree)[-1] == ("publish", "unchanged")
    assert tree.engine.pushes == [f"{registry.address}/shop:1.0.0"]


@pytest.mark.parametrize("step", ["build", "push chart"])
def test_another_publisher_wins_with_different_content(tree: SourceTree, registry: FakeRegistry, step: str) -> None:
    others: list[PublishedVersion] = []

    def other() -> None:
        text = (tree.app / "index.js").read_text()
        write(tree.app / "index.js", "// theirs\n")
        others.append(go(tree, registry, version="1.0.0"))
        write(tree.app / "index.js", text)

    with pytest.raises(VersionConflict):
        racing(tree, registry, step, other)
    if step == "build":  # before ours was pushed: the tag is still theirs
        assert registry.manifest("shop", "1.0.0") == registry.manifest("shop", others[0].image.digest)


def test_another_publisher_pushes_between_push_and_check(tree: SourceTree, registry: FakeRegistry) -> None:
    over = tree.engine.push

    def push(repository: str, tag: str, **named: object) -> str:
        digest = over(repository, tag, **named)  # type: ignore[arg-type]
        registry.put_manifest("shop", tag, b'{"theirs": 1}')
        return digest

    tree.engine.push = push  # type: ignore[method-assign]
    with pytest.raises(VersionConflict, match=r":1\.0\.0 .*sha256:.*sha256:"):
        go(tree, registry)
    assert registry.tags("charts/shop") == []


# build alone


def build(tree: SourceTree, registry: FakeRegistry, *, dry_run: bool = False) -> tuple[bool, BuiltImage | None]:
    _, changed, image = build_image(tree.app, version=None, dry_run=dry_run, context=tree.context(registry.address))
    return changed, image


def test_the_image_alone(tree: SourceTree, registry: FakeRegistry) -> None:
    assert build(tree, registry, dry_run=True) == (False, None)
    changed, image = build(tree, registry)
    assert changed
    assert image is not None
    assert image.ref == f"{registry.address}/shop:1.0.0"
    assert build(tree, registry) == (False, image)
    assert build(tree, registry, dry_run=True) == (False, image)
    assert registry.requests == []
    assert go(tree, registry).version == "1.0.0"
    assert len(tree.engine.builds) == 1


def test_an_image_of_another_commit_is_not_taken(tree: SourceTree, registry: FakeRegistry) -> None:
    build(tree, registry)
    tree.git("commit", "--quiet", "--amend", "--message=other")
    tree.git("tag", "--force", "v1.0.0")
    published = go(tree, registry)
    assert len(tree.engine.builds) == 2
    assert published.source.commit == tree.git("rev-parse", "HEAD").strip()


def test_an_image_needs_no_registry(tree: SourceTree) -> None:
    _, _, image = build_image(tree.app, version="7.0.0", dry_run=False, context=tree.context(""))
    assert image is not None
    assert image.ref == "shop:7.0.0"
