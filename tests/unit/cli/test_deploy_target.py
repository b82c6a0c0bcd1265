"""What `deploy` and `ship` deploy, and the name of the release: NAME[@VERSION], --from, --chart, --name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from unit.cli.stub import StubKubernaut, published, release, version

from kubernaut import Deployed
from kubernaut.errors import NameInvalid, VersionNotFound
from kubernaut.history.releases import ReleaseChart

Run = Callable[..., Result]
CHART = "oci://registry.example.com/charts/web:2.1.0"


def called(stub: StubKubernaut) -> tuple[Any, dict[str, Any]]:
    """Return the release name and what is deployed, as the last call passed it."""
    _, arguments, options = stub.calls[-1]
    known = ("application", "version", "digest", "chart", "name")
    return arguments[0], {key: options[key] for key in known if options.get(key) is not None}


@pytest.mark.parametrize(
    ("line", "name", "what"),
    [
        (("hello-world",), "hello-world", {}),
        (("hello-world@1.4.2",), "hello-world", {"version": "1.4.2"}),
        (("hello-world@1.4.2", "--name", "canary"), "canary", {"application": "hello-world", "version": "1.4.2"}),
        (("hello-world", "--name", "canary"), "canary", {"application": "hello-world"}),
        (("hello-world", "--name", "hello-world"), "hello-world", {}),
        (("hello-world@0.1.0+build.5",), "hello-world", {"version": "0.1.0+build.5"}),
        (("web", "--chart", CHART), "web", {"chart": CHART}),
        (("web.blue", "--chart", "./charts/web"), "web.blue", {"chart": "./charts/web"}),
        (("--name", "web", "--chart", CHART), "web", {"chart": CHART}),
    ],
)
def test_the_release_and_what_it_runs(
    run: Run, stub: StubKubernaut, line: tuple[str, ...], name: str, what: dict[str, str]
) -> None:
    result = run("deploy", *line, "-n", "demo")
    assert result.exit_code == 0, result.output
    assert called(stub) == (name, what)


def test_a_version_file_is_deployed_under_another_name(run: Run, stub: StubKubernaut, tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    file.write_text(version().model_dump_json(by_alias=True))
    assert run("deploy", "--from", str(file), "--name", "canary", "-n", "demo").exit_code == 0
    name, what = called(stub)
    assert (name, what["application"], what["version"]) == ("canary", "hello-world", "1.4.2")


def test_ship_takes_the_name_of_the_release(run: Run, stub: StubKubernaut) -> None:
    assert run("ship", "app", "-n", "demo", "--name", "canary").exit_code == 0
    assert called(stub) == (Path("app"), {"name": "canary"})


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (("web@2.2.0", "--chart", CHART), "`kubernaut deploy web --chart oci://registry.example.com/charts/web:2.2.0 -n demo`"),
        (("web@2.2.0", "--chart", "https://r/web"), "`kubernaut deploy web --chart https://r/web@2.2.0 -n demo`"),
        (("web@2.2.0", "--chart", "/"), "`kubernaut deploy web --chart / -n demo`"),
        (("web", "--chart", CHART, "--pre"), "--pre"),
        (
            ("web", "--chart", CHART, "--version", "2.2.0"),
            "`kubernaut deploy web --chart oci://registry.example.com/charts/web:2.2.0 -n demo`",
        ),
        (("web", "--version=2.2.0", "--chart=https://r/web"), "`kubernaut deploy web --chart https://r/web@2.2.0 -n demo`"),
        (("web", "--chart", "/", "--version", "2.2.0"), "`kubernaut deploy web --chart / -n demo`"),
        (("web", "--version", "2.2.0"), "`kubernaut deploy web@2.2.0 -n demo`"),
        (("web", "--chart", "web", "--repo", "https://r/stable/"), "`kubernaut deploy web --chart https://r/stable/web -n demo`"),
        (
            ("web", "--chart", "web", "--repo", "https://r/stable", "--version", "1.0.0"),
            "`kubernaut deploy web --chart https://r/stable/web@1.0.0 -n demo`",
        ),
        (("web", "--chart", CHART, "--name", "blue"), "--name"),
        (("--chart", CHART), "NAME"),
        (("--from", "release.json", "--chart", CHART), "--from"),
        (("--name", "canary"), "NAME[@VERSION]"),
    ],
)
def test_what_cannot_be_combined_is_a_usage_error(run: Run, stub: StubKubernaut, line: tuple[str, ...], word: str) -> None:
    result = run("deploy", *line, "-n", "demo")
    assert (result.exit_code, stub.calls) == (2, [])
    assert word in result.stderr


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("oci://r/charts/web:1.0.0", "kubernaut deploy web --chart oci://r/charts/web:1.0.0 -n demo"),
        ("./charts/web", "kubernaut deploy web --chart ./charts/web -n demo"),
        ("charts/web-1.0.0.tgz", "kubernaut deploy web --chart charts/web-1.0.0.tgz -n demo"),
        ("stable/web", "kubernaut deploy web --chart stable/web -n demo"),
        ("oci://ada:hunter2@r/web", "kubernaut deploy NAME --chart REF -n demo"),
    ],
)
def test_a_chart_in_the_place_of_the_name_is_explained(run: Run, stub: StubKubernaut, text: str, command: str) -> None:
    result = run("deploy", text, "-n", "demo")
    assert (result.exit_code, stub.calls) == (3, [])
    assert f"`{command}`" in result.stderr
    assert "hunter2" not in result.stderr


def test_the_result_names_the_chart_and_the_release(run: Run, stub: StubKubernaut) -> None:
    canary = release(id="demo.canary.v1", name="canary", chart=ReleaseChart(name="hello-world", version="1.4.2"))
    stub.answers["deploy"] = Deployed(stub.answers["deploy"].plan, True, canary)
    result = run("deploy", "hello-world", "--name", "canary", "-n", "demo")
    assert "hello-world 1.4.2" in result.stdout
    assert "demo.canary.v1" in result.stdout
    assert "kubernaut history canary -n demo" in result.stderr


def test_hints_about_the_release_have_its_name(run: Run, stub: StubKubernaut) -> None:
    stub.answers["deploy"] = NameInvalid("It did not work.", hint="See `kubernaut history NAME -n NAMESPACE`.")
    assert "`kubernaut history canary -n demo`" in run("deploy", "hello-world", "--name", "canary", "-n", "demo").stderr


# charts that kubernaut did not publish


FOREIGN = ("oci://r.example.com/charts/web:2.1.0", "oci://r.example.com/charts/web:0.1.0+build.5")


@pytest.mark.parametrize("versions", [(), (version(),)])
def test_versions_name_the_charts_of_others(run: Run, stub: StubKubernaut, versions: tuple[Any, ...]) -> None:
    stub.answers["versions"] = published(*versions, foreign=FOREIGN)
    result = run("versions", "web")
    assert result.exit_code == 0
    assert all(chart in result.stderr for chart in FOREIGN)
    assert f"kubernaut deploy web --chart {FOREIGN[0]} -n NAMESPACE" in result.stderr
    assert ("1.4.2" in result.stdout) is bool(versions)
    assert "publish" not in result.stderr.partition("next:")[2]
    content = json.loads(run("versions", "web", "-o", "json").stdout)
    assert (content["foreign"], content["count"]) == ([*FOREIGN], len(versions))


def test_many_charts_of_others_are_counted(run: Run, stub: StubKubernaut) -> None:
    stub.answers["versions"] = published(foreign=[f"oci://r/web:1.0.{patch}" for patch in range(30)])
    result = run("versions", "web")
    assert "25" in result.stderr
    assert "1.0.29" not in result.stderr


def test_the_hint_of_a_chart_of_others_can_be_pasted(run: Run, stub: StubKubernaut) -> None:
    hint = f"Deploy it by reference: `kubernaut deploy web --chart {FOREIGN[0]} -n NAMESPACE`."
    stub.answers["deploy"] = VersionNotFound("It did not work.", hint=hint)
    result = run("deploy", "web", "-n", "demo")
    assert result.exit_code == 4
    assert f"`kubernaut deploy web --chart {FOREIGN[0]} -n demo`" in result.stderr


def test_json_has_no_foreign_charts_without_any(run: Run) -> None:
    assert set(json.loads(run("versions", "hello-world", "-o", "json").stdout)) == {"items", "count"}
