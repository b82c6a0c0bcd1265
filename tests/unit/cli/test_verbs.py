"""Each verb: what it asks of the service, what it prints, and that both doors offer the same."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import Result
from unit.cli.stub import COMMIT, DIGEST, MOMENT, PLAN, StubKubernaut, foreign, release, version

from kubernaut import Action, Deployed, Kubernaut, Plan, Published
from kubernaut import api as service
from kubernaut.cli.main import VERBS, main
from kubernaut.cli.session import SETTINGS
from kubernaut.events import Listener
from kubernaut.history.releases import ReleaseList
from kubernaut.settings import Settings

Run = Callable[..., Result]

WRITING = {
    "build": ("build", "app"),
    "publish": ("publish", "app"),
    "deploy": ("deploy", "hello-world", "-n", "demo"),
    "ship": ("ship", "app", "-n", "demo"),
    "rollback": ("rollback", "hello-world", "-n", "demo"),
    "delete": ("delete", "hello-world", "-n", "demo", "--yes"),
    "restore": ("restore", "hello-world", "-n", "demo"),
    "unlock": ("unlock", "hello-world", "-n", "demo", "--yes"),
}
LOOKING = {
    "list": ("list",),
    "show": ("show", "demo.hello-world.v3"),
    "history": ("history", "hello-world", "-n", "demo"),
    "diff": ("diff", "hello-world", "-n", "demo"),
    "versions": ("versions", "hello-world"),
}
LINES = {**WRITING, **LOOKING, "logs": ("logs", "demo.hello-world.v3")}
OF_THE_DOOR = {"output", "yes", "help"}
FILES = {"to", "handover"}
"""The files that the command line reads a version from, or writes what it made to; `diff --to` is the library's."""
OF_THE_LIBRARY = {"if_match", "operation", "chart", "digest"}
"""What only the library and the REST server have: what was read before, what was accepted before, charts of others."""
NO_VERBS = {"accept", "accepted", "acting", "close", "manifest", "operation", "recover", "report", "values", "watch"}
"""What the REST server asks of the library besides the verbs."""


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def library_parameters(name: str) -> set[str]:
    """Return a method's parameters; those of ``**options: Unpack[…]`` too."""
    method = getattr(Kubernaut, name)
    names = {
        parameter.name for parameter in inspect.signature(method).parameters.values() if parameter.kind is not parameter.VAR_KEYWORD
    }
    options = re.fullmatch(r"Unpack\[(\w+)\]", method.__annotations__.get("options", ""))
    return (names | set(getattr(service, options[1]).__annotations__ if options else ())) - {"self"}


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_verb_offers_what_the_library_offers(name: str) -> None:
    parameters = library_parameters(name) - set(SETTINGS) - OF_THE_LIBRARY
    offered = {parameter.name for parameter in command(name).params} - OF_THE_DOOR - set(SETTINGS) - {"verbose"}
    offered = offered if name == "diff" else offered - FILES
    if name == "deploy":  # NAME[@VERSION] is one word on the command line
        offered = offered - {"application"} | {"name", "version"}
    assert offered == parameters


def test_every_verb_of_the_library_is_a_command() -> None:
    public = {name for name, member in inspect.getmembers(Kubernaut, inspect.isfunction) if not name.startswith("_")}
    assert public - NO_VERBS <= set(VERBS)


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_verb_asks_the_service_once_and_ends_well(run: Run, stub: StubKubernaut, name: str) -> None:
    result = run(*LINES[name])
    assert result.exit_code == 0, result.output
    assert [verb for verb, _, _ in stub.calls] == [name]
    assert result.stdout.strip()


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_verb_calls_the_service_with_arguments_that_it_takes(run: Run, stub: StubKubernaut, name: str) -> None:
    run(*LINES[name])
    _, args, kwargs = stub.calls[0]
    inspect.signature(getattr(Kubernaut, name)).bind(None, *args, **kwargs)
    assert set(kwargs) <= library_parameters(name)


@pytest.mark.parametrize("name", [*WRITING, *LOOKING])
def test_json_is_the_models_own(run: Run, stub: StubKubernaut, name: str) -> None:
    result = run(*LINES[name], "-o", "json")
    content = json.loads(result.stdout)
    answer = stub.answers[name]
    if name == "versions":
        assert content == {"items": [item.model_dump(mode="json", by_alias=True) for item in answer], "count": 2}
        return
    model = {"build": "image", "publish": "version"}.get(name, "release") if name in WRITING else None
    expected = getattr(answer, model) if model else answer
    assert content == expected.model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize("name", sorted(WRITING))
def test_a_dry_run_shows_the_plan(run: Run, stub: StubKubernaut, name: str) -> None:
    outcome = stub.answers[name]
    stub.answers[name] = type(outcome)(PLAN, False, None)
    result = run(*WRITING[name], "--dry-run")
    assert stub.calls[0][2]["dry_run"] is True
    assert result.stdout == (
        "1. push-chart hello-world:1.4.2: the registry does not have it\n"
        "2. helm-upgrade demo/hello-world: the chart's digest differs\n"
    )
    assert json.loads(run(*WRITING[name], "--dry-run", "-o", "json").stdout) == PLAN.model_dump(mode="json", by_alias=True)


def test_a_dry_run_with_nothing_to_do_says_why(run: Run, stub: StubKubernaut) -> None:
    stub.answers["ship"] = Deployed(Plan(reason="1.4.2 runs already"), False, None)
    assert run(*WRITING["ship"], "--dry-run").stdout == "nothing to do: 1.4.2 runs already\n"


def test_dry_run_lists_the_objects_that_a_delete_removes(run: Run, stub: StubKubernaut) -> None:
    action = Action(
        kind="helm-uninstall", subject="demo.hello.v1", reason="it is deployed", objects=("Deployment/web", "Service/web")
    )
    stub.answers["delete"] = Deployed(Plan(actions=(action,)), False, None)
    shown = run(*WRITING["delete"], "--dry-run").stdout.splitlines()
    assert shown[0].startswith("1. helm-uninstall demo.hello.v1")
    assert [line.strip(" -") for line in shown[1:]] == ["Deployment/web", "Service/web"]


def test_ship_passes_everything_on(run: Run, stub: StubKubernaut, tmp_path: Path) -> None:
    values = tmp_path / "v.yaml"
    result = run(
        *("ship", "app", "-n", "demo", "--version", "1.4.2", "--values", str(values), "--set", "replicas=3", "--set", "a.b=c=d"),
        *(
            "--environment",
            "production",
            "--note",
            "new greeting",
            "--timeout",
            "90s",
            "--create-namespace",
            "--on-failure",
            "keep",
        ),
        *("--reuse-values", "--registry", "r.example.com/team", "--context", "kind", "--kubeconfig", "/k"),
    )
    assert result.exit_code == 0, result.output
    assert stub.calls == [
        (
            "ship",
            (Path("app"),),
            {
                "namespace": "demo",
                "version": "1.4.2",
                "values": (values,),
                "set": ("replicas=3", "a.b=c=d"),
                "environment": "production",
                "note": "new greeting",
                "create_namespace": True,
                "on_failure": "keep",
                "reuse_values": True,
                "dry_run": False,
            },
        )
    ]
    settings = stub.settings
    assert settings is not None
    assert (settings.registry, settings.context, settings.kubeconfig, settings.timeout) == (
        "r.example.com/team",
        "kind",
        "/k",
        90.0,
    )
    assert settings.origins["timeout"] == "argument --timeout"


@pytest.mark.parametrize(
    ("word", "name", "number"), [("hello-world", "hello-world", None), ("hello-world@1.4.2", "hello-world", "1.4.2")]
)
def test_deploy_takes_a_name_and_a_version(run: Run, stub: StubKubernaut, word: str, name: str, number: str | None) -> None:
    run("deploy", word, "-n", "demo", "--pre")
    _, args, kwargs = stub.calls[0]
    assert (args, kwargs["version"], kwargs["pre"]) == ((name,), number, True)


@pytest.mark.parametrize("word", ["hello-world@", "@1.4.2", "@"])
def test_deploy_refuses_half_a_version(run: Run, word: str) -> None:
    result = run("deploy", word, "-n", "demo")
    assert result.exit_code == 2
    assert "is not NAME or NAME@VERSION" in result.stderr


def test_a_release_is_named_by_id_or_by_name(run: Run, stub: StubKubernaut) -> None:
    run("show", "demo.hello-world.v3")
    run("show", "hello-world", "-n", "demo", "--revision", "2")
    assert stub.calls == [
        ("show", ("demo.hello-world.v3",), {"namespace": None, "revision": None}),
        ("show", ("hello-world",), {"namespace": "demo", "revision": 2}),
    ]


@pytest.mark.parametrize("pair", ["replicas", "=3"])
def test_set_wants_a_key_and_a_value(run: Run, pair: str) -> None:
    result = run("ship", "app", "-n", "demo", "--set", pair)
    assert result.exit_code == 2
    assert "is not KEY=VALUE" in result.stderr


def test_ship_says_what_runs_where_and_what_to_do_next(run: Run) -> None:
    result = run(*WRITING["ship"])
    assert result.stdout == "hello-world 1.4.2 (31fba06) runs in demo as demo.hello-world.v3\n"
    assert "next: kubernaut history hello-world -n demo" in result.stderr


def test_an_unchanged_ship_says_so(run: Run, stub: StubKubernaut) -> None:
    stub.answers["ship"] = Deployed(Plan(), False, release())
    assert run(*WRITING["ship"]).stdout == "hello-world 1.4.2 (31fba06) runs already in demo as demo.hello-world.v3\n"


def test_an_unchanged_publish_says_so(run: Run, stub: StubKubernaut) -> None:
    stub.answers["publish"] = Published(Plan(), False, version())
    assert run(*WRITING["publish"]).stdout.startswith("hello-world 1.4.2 is published already\n")


def test_delete_says_how_to_restore(run: Run) -> None:
    result = run(*WRITING["delete"])
    assert "is deleted: demo.hello-world.v3 can be restored" in result.stdout
    assert "next: kubernaut restore hello-world -n demo" in result.stderr


def test_delete_without_a_terminal_needs_yes(run: Run, stub: StubKubernaut) -> None:
    result = run("delete", "hello-world", "-n", "demo")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert stub.calls == []


def test_delete_asks_of_the_release_that_it_deletes(run: Run, stub: StubKubernaut, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("kubernaut.cli.prompts.sys", SimpleNamespace(stdin=terminal, stderr=terminal))
    opened: list[Settings] = []
    over = stub.open

    def watched(settings: Settings, listener: Listener) -> StubKubernaut:
        opened.append(settings)
        return over(settings, listener)

    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", watched)
    line = ("delete", "hello-world", "-n", "demo", "--context", "staging", "--kubeconfig", "/k", "--timeout", "9s")
    assert run(*line, input="y\n").exit_code == 0
    assert [(settings.context, settings.kubeconfig, settings.timeout) for settings in opened] == [("staging", "/k", 9.0)] * 2
    assert [(args, kwargs["dry_run"]) for _, args, kwargs in stub.calls] == [
        (("hello-world",), True),
        (("demo.hello-world.v3",), False),
    ]


def test_list_in_a_pipe_is_whole(run: Run) -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "NAMESPACE", "REV", "STATUS", "VERSION", "COMMIT", "BY", "UPDATED"],
        ["hello-world", "demo", "3", "deployed", "1.4.2", COMMIT[:7], "ada@workshop", "2031-05-06T07:08:09Z"],
        ["nginx", "tools", "1", "deployed", "18.1.0", "-", "helm", "2031-05-06T07:08:09Z"],
    ]


def test_versions_in_a_pipe_keep_the_whole_digest(run: Run) -> None:
    assert run("versions", "hello-world").stdout.count(DIGEST) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no active releases; --all"),
        (("-n", "demo"), "no active releases in demo"),
        (("-n", "demo", "--all"), "no releases in demo"),
    ],
)
def test_an_empty_list_says_so_beside_the_data(run: Run, stub: StubKubernaut, arguments: tuple[str, ...], words: str) -> None:
    stub.answers["list"] = ReleaseList(items=(), count=0)
    result = run("list", *arguments)
    assert result.stdout == ""
    assert words in result.stderr


def test_history_has_helms_columns_and_who(run: Run) -> None:
    text = run("history", "hello-world", "-n", "demo").stdout
    header = text.splitlines()[0]
    for title in ("REV", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION", "COMMIT", "BY"):
        assert title in header
    assert 'hello-world-1.4.2   1.4.2         31fba06   ada@workshop   1.4.2 (31fba06) by ada: "new greeting"' in text


def test_show_tells_everything(run: Run) -> None:
    text = run("show", "demo.hello-world.v3").stdout
    for fact in (
        "demo.hello-world.v3",
        "deployed (active, serving)",
        f"127.0.0.1:5000/hello-world@{DIGEST}",
        COMMIT,
        "ada@workshop",
    ):
        assert fact in text


def test_show_makes_up_nothing_about_a_foreign_release(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = foreign()
    text = run("show", "tools.nginx.v1").stdout
    assert "managed by   helm" in text
    assert "commit" not in text
    assert "None" not in text


def test_show_tells_what_serves_while_the_current_one_failed(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(status="failed", serving=2)
    text = run("show", "demo.hello-world.v3").stdout
    assert "failed (active)" in text
    assert "revision 2" in text


def test_logs_as_json_is_an_object_a_line(run: Run) -> None:
    lines = run("logs", "demo.hello-world.v3", "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"line": "hello-0 listening"}, {"line": "hello-0 GET /"}]


def test_config_tells_where_a_value_came_from(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kubernaut.toml").write_text('history_max = "7"\n')
    monkeypatch.setenv("KUBERNAUT_TIMEOUT", "10m")
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in run("config").stdout.splitlines()}
    assert rows["timeout"] == "600s environment KUBERNAUT_TIMEOUT"
    assert rows["history_max"] == f"7 {tmp_path / 'kubernaut.toml'}"
    assert rows["actor"].endswith("default")
    content: dict[str, Any] = json.loads(run("config", "-o", "json").stdout)
    assert content["count"] == len(content["items"]) == len(rows) - 1


def test_description_cannot_steer_the_terminal(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(description="\x1b[2Jgone \x1b]0;title\x07", created_at=MOMENT)
    assert "\x1b" not in run("show", "demo.hello-world.v3").stdout
