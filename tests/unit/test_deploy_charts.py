"""`Kubernaut.deploy` of any chart under any name, with a Helm and a cluster in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.chart_repository import ChartRepository, serve_charts
from support.charts import write_chart
from support.messages import facts, suggested
from support.publisher import Publisher

from kubernaut import Deployed, Kubernaut
from kubernaut.errors import (
    BadInput,
    ChartInvalid,
    KubernautError,
    NameInvalid,
    NamespaceNotFound,
    RegistryUnreachable,
    VersionConflict,
    VersionNotFound,
)
from kubernaut.history.records import Status
from kubernaut.history.releases import Release
from kubernaut.settings import load_settings
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm
from kubernaut.testing.registry import FakeRegistry

NO_DIGEST = "sha256:" + "0" * 64


class Harness:
    """The verbs on a cluster, a Helm, a registry and a chart repository in memory."""

    def __init__(self, folder: Path, registry: FakeRegistry, repository: ChartRepository) -> None:
        self.folder, self.repository = folder, repository
        self.cluster = FakeCluster("demo")
        self.helm = FakeHelm(self.cluster)
        self.publisher = Publisher(folder / "published", registry, [self.helm])
        environment = {"KUBERNAUT_ACTOR": "ada", "KUBERNAUT_REGISTRY": self.publisher.prefix}
        self.kubernaut = Kubernaut(load_settings(environment=environment, directory=folder))
        clients = self.kubernaut.context.clients
        clients.cluster, clients.helm = self.cluster, self.helm  # type: ignore[assignment]

    def chart(self, text: str = "hello", version: str = "1.0.0") -> Path:
        return write_chart(self.folder, "web", version=version, values=f"text: {text}\n")

    def package(self, text: str = "hello", version: str = "1.0.0") -> Path:
        (self.folder / "out").mkdir(exist_ok=True)
        return self.helm.package(self.chart(text, version), self.folder / "out")

    def deploy(self, chart: str | Path, name: str = "shop", **options: Any) -> Deployed:
        return self.kubernaut.deploy(name, namespace="demo", chart=chart, **options)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with FakeRegistry() as registry, serve_charts() as repository:
        yield Harness(tmp_path, registry, repository)


def folder(harness: Harness, text: str, version: str) -> str | Path:
    return harness.chart(text, version)


def package(harness: Harness, text: str, version: str) -> str | Path:
    return str(harness.package(text, version))


def repository(harness: Harness, text: str, version: str) -> str | Path:
    return harness.repository.add(harness.package(text, version), "web", version)


Source = Callable[[Harness, str, str], "str | Path"]


def made(deployed: Deployed) -> Release:
    assert deployed.release is not None
    return deployed.release


@pytest.mark.parametrize("source", [folder, package, repository])
def test_a_chart_is_deployed_once_and_again_when_its_content_changes(harness: Harness, source: Source) -> None:
    first = harness.deploy(source(harness, "hello", "1.0.0"))
    release = made(first)
    assert (release.id, release.chart.name, release.chart.version, first.changed) == ("demo.shop.v1", "web", "1.0.0", True)
    again = harness.deploy(source(harness, "hello", "1.0.0"))
    assert (made(again).id, again.changed) == ("demo.shop.v1", False)
    changed = harness.deploy(source(harness, "good morning", "1.0.0"))
    assert (made(changed).id, changed.changed) == ("demo.shop.v2", True)
    assert made(changed).chart.digest != release.chart.digest
    assert made(harness.deploy(source(harness, "good morning", "1.1.0"))).chart.version == "1.1.0"


def test_the_same_content_has_one_digest_wherever_it_comes_from(harness: Harness) -> None:
    digest = made(harness.deploy(harness.chart())).chart.digest
    assert digest is not None
    assert not harness.deploy(harness.package()).changed
    assert not harness.deploy(harness.repository.add(harness.package(), "web", "1.0.0"), digest=digest).changed
    with pytest.raises(VersionConflict, match=digest):
        harness.deploy(harness.chart(), digest=NO_DIGEST)


def test_the_origin_of_a_chart_is_recorded(harness: Harness) -> None:
    assert made(harness.deploy(harness.chart())).chart.ref == "web-1.0.0.tgz"
    reference = harness.repository.add(harness.package("bye", "1.1.0"), "web", "1.1.0")
    assert made(harness.deploy(f"{harness.repository.url}/web")).chart.ref == reference


def test_helm_gets_a_file_that_is_removed_afterwards(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    upgrade = harness.helm.upgrade

    def note(name: str, chart: str, **how: Any) -> None:
        seen.append(Path(chart))
        assert Path(chart).is_absolute()
        upgrade(name, chart, **how)

    monkeypatch.setattr(harness.helm, "upgrade", note)
    chart = harness.chart()
    harness.deploy(chart)
    assert seen
    assert not any(path.exists() or path.is_relative_to(chart) for path in seen)


@pytest.mark.parametrize("in_registry", [False, True])
def test_helm_gets_the_chart_of_the_plan(harness: Harness, monkeypatch: pytest.MonkeyPatch, in_registry: bool) -> None:
    upgrade = harness.helm.upgrade

    def change_first(*arguments: Any, **how: Any) -> None:
        harness.chart("edited meanwhile")
        harness.publisher.publish("1.0.0", template="edited: meanwhile\n")
        upgrade(*arguments, **how)

    harness.publisher.publish("1.0.0")
    chart = f"oci://{harness.publisher.prefix}/charts/hello:1.0.0" if in_registry else harness.chart()
    monkeypatch.setattr(harness.helm, "upgrade", change_first)
    harness.deploy(chart)
    assert "hello" in harness.kubernaut.manifest("shop", namespace="demo")
    assert "meanwhile" not in harness.kubernaut.manifest("shop", namespace="demo")


def test_a_dry_run_of_a_folder_changes_nothing(harness: Harness) -> None:
    planned = harness.deploy(harness.chart(), dry_run=True)
    assert (planned.changed, planned.release, planned.plan.changes) == (False, None, True)
    assert [kind for kind, _ in harness.helm.starts] == ["package"]


def test_a_release_can_go_back_to_a_chart_that_is_gone(harness: Harness) -> None:
    chart = harness.chart()
    first = made(harness.deploy(chart))
    harness.deploy(harness.chart("bye"))
    shutil.rmtree(chart)
    back = made(harness.kubernaut.rollback("shop", namespace="demo"))
    assert (back.id, back.chart.digest) == ("demo.shop.v3", first.chart.digest)


def test_environments_of_a_package_are_used(harness: Harness) -> None:
    chart = write_chart(harness.folder, "web", environments__demo_yaml="text: for demo\n")
    metadata = chart / "Chart.yaml"
    metadata.write_text(f"{metadata.read_text()}annotations: {{kubernaut/environments: demo}}\n")
    harness.deploy(chart)
    assert harness.kubernaut.values("shop", namespace="demo") == {"text": "for demo"}


def test_a_registry_chart_without_a_version_is_the_newest_stable(harness: Harness) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
        harness.publisher.publish(version)
    reference = f"oci://{harness.publisher.prefix}/charts/hello"
    release = made(harness.deploy(reference))
    assert release.chart.version == "1.10.0"
    assert release.chart.ref == f"{reference}@{release.chart.digest}"
    assert not harness.deploy(f"{reference}:1.10.0@{release.chart.digest}").changed
    with pytest.raises(VersionConflict):
        harness.deploy(f"{reference}:1.9.0@{release.chart.digest}")


@pytest.mark.parametrize(
    ("chart", "error"),
    [
        ("nowhere", BadInput),
        ("stable/web", BadInput),
        ("", BadInput),
        ("file:///etc", BadInput),
        ("x" * 5000, BadInput),
        ("https://r.example.com/web-1.0.0.tgz", BadInput),
        ("oci://127.0.0.1:1/charts/web:1.0.0", RegistryUnreachable),
        ("http://127.0.0.1:1/charts/web", RegistryUnreachable),
    ],
)
def test_a_chart_that_cannot_be_found_changes_nothing(harness: Harness, chart: str, error: type[KubernautError]) -> None:
    with pytest.raises(error) as caught:
        harness.deploy(chart)
    assert caught.value.hint
    assert harness.kubernaut.list(all=True).count == 0


def test_a_package_that_differs_from_the_index_is_refused(harness: Harness) -> None:
    reference = harness.repository.add(harness.package(), "web", "1.0.0", digest="ab" * 32)
    with pytest.raises(RegistryUnreachable, match=facts("ab" * 32)):
        harness.deploy(reference)


@pytest.mark.parametrize(("name", "version"), [("web", "1.0.1"), ("other", "1.0.0")])
def test_a_package_of_another_chart_is_refused(harness: Harness, name: str, version: str) -> None:
    with pytest.raises(ChartInvalid, match=facts("web", "1.0.0", name, version)):
        harness.deploy(harness.repository.add(harness.package(), name, version))


def test_a_version_that_the_repository_lacks_is_named(harness: Harness) -> None:
    harness.repository.add(harness.package(), "web", "1.0.0")
    with pytest.raises(VersionNotFound, match=facts("2.0.0", "web")):
        harness.deploy(f"{harness.repository.url}/web@2.0.0")


def test_a_package_that_the_repository_lacks_is_named(harness: Harness) -> None:
    reference = harness.repository.add(harness.package(), "web", "1.0.0")
    del harness.repository.files["/stable/web-1.0.0.tgz"]
    with pytest.raises(VersionNotFound, match=facts("1.0.0", f"{harness.repository.url}/web-1.0.0.tgz")) as caught:
        harness.deploy(reference)
    assert "owner" in caught.value.hint


def test_a_url_that_is_not_a_chart_repository_is_named(harness: Harness) -> None:
    url = harness.repository.url
    with pytest.raises(VersionNotFound, match=facts(f"{url}/more/index.yaml")) as caught:
        harness.deploy(f"{url}/more/web@1.0.0")
    assert suggested(caught.value.hint) == [f"oci://{url.partition('://')[2]}/more/web:1.0.0"]
    with pytest.raises(VersionNotFound) as caught:
        harness.deploy(f"{url}/web/1.0.0")
    assert suggested(caught.value.hint) == [f"{url}/web@1.0.0"]


@pytest.mark.parametrize("more", [{"version": "1.0.0"}, {"pre": True}, {"application": "web"}])
def test_a_chart_excludes_an_application_and_a_version(harness: Harness, more: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="reference"):
        harness.deploy(harness.chart(), **more)


# several releases of one application


def test_an_application_has_two_releases_in_a_namespace(harness: Harness) -> None:
    harness.publisher.publish("1.0.0")
    harness.publisher.publish("1.1.0")
    verbs = harness.kubernaut
    verbs.deploy("hello", namespace="demo", version="1.0.0")
    canary = made(verbs.deploy("canary", application="hello", namespace="demo"))
    assert (canary.id, canary.chart.name, canary.chart.version) == ("demo.canary.v1", "hello", "1.1.0")
    assert sorted((one.name, one.chart.name) for one in verbs.list(namespace="demo")) == [("canary", "hello"), ("hello", "hello")]
    assert not verbs.deploy("canary", application="hello", namespace="demo").changed
    verbs.deploy("canary", application="hello", namespace="demo", version="1.0.0")
    assert verbs.diff("canary", namespace="demo").chart is not None
    assert made(verbs.rollback("canary", namespace="demo")).chart.version == "1.1.0"
    assert verbs.history("canary", namespace="demo").count == 3
    assert made(verbs.delete("canary", namespace="demo")).deleted_at is not None
    assert verbs.show("hello", namespace="demo").id == "demo.hello.v1"


def test_steps_name_the_application_and_the_release(harness: Harness) -> None:
    harness.publisher.publish("1.0.0")
    planned = harness.kubernaut.deploy("canary", application="hello", namespace="demo", dry_run=True)
    assert "demo.canary" in planned.plan.summary


# names with dots


def helm_release(harness: Harness, name: str) -> None:
    """Make a release as plain Helm does."""
    chart = str(harness.chart())
    plain: dict[str, Any] = {"namespace": "demo", "values": {}, "labels": {}, "description": "Install complete", "timeout": 9.0}
    harness.helm.upgrade(name, chart, install=True, history_max=10, log=print, **plain)


@pytest.mark.parametrize("name", ["web.blue", "web.v2", "v3", "demo.v2", "demo.current", "a.b.c"])
def test_a_foreign_release_with_dots_is_changed_and_shown(harness: Harness, name: str) -> None:
    helm_release(harness, name)
    verbs = harness.kubernaut
    upgraded = made(harness.deploy(harness.chart("bye"), name))
    assert (upgraded.id, upgraded.managed_by) == (f"demo.{name}.v2", "kubernaut")
    assert verbs.show(name, namespace="demo").id == verbs.show(f"demo.{name}.current").id == f"demo.{name}.v2"
    assert verbs.history(name, namespace="demo").count == 2
    assert made(verbs.rollback(name, namespace="demo")).id == f"demo.{name}.v3"
    assert made(verbs.rollback(f"demo.{name}.v2")).id == f"demo.{name}.v4"
    assert made(verbs.delete(name, namespace="demo")).status == Status.UNINSTALLED
    assert made(verbs.restore(f"demo.{name}.current")).id == f"demo.{name}.v5"


def test_a_new_release_has_no_dot_in_its_name(harness: Harness) -> None:
    with pytest.raises(NameInvalid, match=facts("demo.web.blue")):
        harness.deploy(harness.chart(), "web.blue")
    with pytest.raises(NameInvalid, match=facts("web.blue")) as caught:
        harness.kubernaut.deploy("web.blue", namespace="demo")
    assert "--chart" in caught.value.hint
    with pytest.raises(NamespaceNotFound):
        harness.kubernaut.deploy("web", namespace="nowhere", chart=harness.chart())
