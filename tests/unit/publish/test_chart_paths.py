"""Paths that name no chart: what is wrong with them, and what to write instead."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.charts import write_chart
from support.messages import facts, suggested

from kubernaut.adapters.helm_repositories import repository_url
from kubernaut.errors import BadInput, ChartInvalid, KubernautError
from kubernaut.publish.chart_package import package_folder
from kubernaut.publish.chart_paths import existing, missing_chart
from kubernaut.publish.charts import find_chart

URL = "https://charts.example.com/stable"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the chart ``charts/web``; another chart, ``x``, is in the home folder."""
    folder, home = tmp_path / "work", tmp_path / "home"
    (folder / "charts").mkdir(parents=True)
    home.mkdir()
    write_chart(folder / "charts", "web")
    write_chart(home, "x")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    for name in ("HELM_REPOSITORY_CONFIG", "HELM_CONFIG_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def refused(text: str, kind: type[KubernautError] = BadInput) -> KubernautError:
    unused: Any = None
    with pytest.raises(kind, match=facts(text.removeprefix("~/").removeprefix("./"))) as caught:
        find_chart(text, registry=unused, repositories=unused, helm=lambda: unused)
    return caught.value


def pack(here: Path, name: str, folder: str) -> None:
    with tarfile.open(here / name, "w:gz" if name.endswith("gz") else "w") as tar:
        tar.add(folder)


def test_a_tilde_is_the_home_folder_unless_a_file_has_that_name(here: Path) -> None:
    assert existing(Path("~/x")) == here.parent / "home" / "x"
    assert existing(Path("~nobody-of-this-name/x")) == Path("~nobody-of-this-name/x")
    (here / "~").mkdir()
    shutil.copytree(here / "charts/web", here / "~/x")
    assert existing(Path("~/x")) == Path("~/x")


@pytest.mark.usefixtures("here")
def test_a_chart_in_the_home_folder_is_read(here: Path) -> None:
    unused: Any = None
    pack(here.parent / "home", "web.tgz", "charts/web")
    with pytest.raises(ChartInvalid, match="charts/web"):  # the file was found, and has the chart in an inner folder
        find_chart("~/web.tgz", registry=unused, repositories=unused, helm=lambda: unused)
    assert str(here.parent / "home" / "nowhere") in refused("~/nowhere").message


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", ["charts/web:1.0.0", "charts/web@1.0.0", "./charts/web:v1.0.0-rc.1", "charts/web:latest"])
def test_a_version_after_a_folder_is_left_out(text: str) -> None:
    assert suggested(refused(text).hint) == [text.replace("@", ":").partition(":")[0]]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("text", "charts"),
    [
        ("charts/wab", ["charts/web"]),
        ("./charts/webb", ["./charts/web"]),
        ("~/xx", ["~/x"]),
        ("chart/web", ["charts/web"]),
        ("./chrats/web", ["./charts/web"]),
        ("../other/charts/web", []),
        ("r.example.com/charts/web:1.2.3", ["oci://r.example.com/charts/web:1.2.3"]),
        ("localhost:5000/web", ["oci://localhost:5000/web", "https://localhost:5000/web"]),
        ("charts.example.com/stable/web@1.2.3", ["https://charts.example.com/stable/web@1.2.3"]),
        ("nowhere", []),
        ("./nowhere/else", []),
        ("my.charts/web-1.0.0.tgz", []),
    ],
)
def test_what_a_missing_path_may_mean_is_suggested(text: str, charts: list[str]) -> None:
    refusal = refused(text)
    assert suggested(refusal.hint) == charts
    assert charts or "Chart.yaml" in refusal.hint


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("text", "named"), [("shop", "shop"), ("shop@1.2.3", "shop@1.2.3"), ("shop:1.2.3", "shop@1.2.3")])
def test_a_published_version_is_deployed_without_chart(text: str, named: str) -> None:
    assert f"`kubernaut deploy {named} -n NAMESPACE`" in refused(text).hint


REPOSITORIES = f"""\
repositories:
- {{name: stable, url: {URL}/}}
- {{name: secret, url: "https://ada:hunter2@charts.example.com"}}
- {{name: odd}}
- 7
"""


@pytest.mark.parametrize(
    ("text", "chart"),
    [
        ("stable/web", f"{URL}/web"),
        ("stable/web@1.2.3", f"{URL}/web@1.2.3"),
        ("stable/web:1.2.3", f"{URL}/web@1.2.3"),
        ("secret/web", None),
        ("odd/web", None),
        ("other/web", None),
    ],
)
def test_a_name_of_helm_repo_list_becomes_its_url(here: Path, text: str, chart: str | None) -> None:
    config = here.parent / "home/.config/helm/repositories.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(REPOSITORIES)
    refusal = missing_chart(text, lambda name: repository_url(name, {"HELM_CONFIG_HOME": str(config.parent)}))
    assert suggested(refusal.hint) == ([chart] if chart else [])
    assert chart or "helm repo list" in refusal.hint
    assert "hunter2" not in refusal.hint + str(refusal.problem())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HELM_REPOSITORY_CONFIG", "helm/repositories.yaml"),
        ("HELM_CONFIG_HOME", "helm"),
        ("XDG_CONFIG_HOME", "."),
    ],
)
def test_the_repositories_are_read_where_helm_has_them(here: Path, variable: str, value: str) -> None:
    (here / "helm").mkdir()
    (here / "helm/repositories.yaml").write_text(REPOSITORIES)
    assert repository_url("stable", {variable: str(here / value)}) == URL
    assert repository_url("stable", {variable: str(here / "nowhere")}) is None
    (here / "helm/repositories.yaml").write_text("- [\n")
    assert repository_url("stable", {variable: str(here / value)}) is None


def not_a_folder_of_a_chart(folder: str) -> ChartInvalid:
    unused: Any = None
    with pytest.raises(ChartInvalid, match=facts(folder, "Chart.yaml")) as caught:
        package_folder(Path(folder), unused)
    return caught.value


def test_the_charts_in_and_around_a_folder_are_suggested(here: Path) -> None:
    write_chart(here / "charts", "api")
    assert suggested(not_a_folder_of_a_chart("charts").hint) == ["charts/api"]
    assert "charts/web" in not_a_folder_of_a_chart("charts").hint
    assert suggested(not_a_folder_of_a_chart("charts/web/templates").hint) == ["charts/web"]
    (here / "app/deep/chart").mkdir(parents=True)
    shutil.copytree(here / "charts/web", here / "app/deep/chart", dirs_exist_ok=True)
    assert suggested(not_a_folder_of_a_chart("app").hint) == ["app/deep/chart"]


def test_the_folder_of_an_application_is_shipped(here: Path) -> None:
    (here / "app").mkdir()
    assert suggested(not_a_folder_of_a_chart("app").hint) == []
    (here / "app/kubernaut.yaml").write_text("name: web\n")
    assert "`kubernaut ship app -n NAMESPACE`" in not_a_folder_of_a_chart("app").hint


@pytest.mark.parametrize("name", ["chart.yaml", "Chart.yml"])
def test_a_chart_yaml_of_another_name_is_renamed(here: Path, name: str) -> None:
    (here / "app").mkdir()
    (here / "app" / name).write_text("name: web\n")
    assert f"`mv app/{name} app/Chart.yaml`" in not_a_folder_of_a_chart("app").hint


def test_files_that_are_not_packages_are_explained(here: Path) -> None:
    pack(here, "source.tar.gz", "charts")
    pack(here, "web.tar", "charts/web")
    with zipfile.ZipFile(here / "web.zip", "w") as archive:
        archive.write("charts/web/Chart.yaml")
    (here / "text.tgz").write_bytes(gzip.compress(b"text"))
    refusal = refused("source.tar.gz", ChartInvalid)
    assert "`tar -xzf source.tar.gz`" in refusal.hint
    assert suggested(refusal.hint) == ["charts/web"]
    refusal = refused("web.tar", ChartInvalid)
    assert "`gzip -k web.tar`" in refusal.hint
    assert suggested(refusal.hint) == ["web.tar.gz"]
    assert "`unzip web.zip`" in refused("web.zip", ChartInvalid).hint
    assert suggested(refused("charts/web/Chart.yaml", ChartInvalid).hint) == ["charts/web"]
    assert refused("text.tgz", ChartInvalid).hint
