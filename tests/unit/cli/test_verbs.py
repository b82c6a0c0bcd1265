"""Each command: its call of the library, its output, and that it offers what the library offers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result
from support.messages import facts
from unit.cli.stub import COMMIT, DIGEST, MOMENT, StubKubernaut, foreign, release, version

from kubernaut import Deployed, Kubernaut, Plan, Published
from kubernaut import api as service
from kubernaut.cli.main import COMMANDS, main
from kubernaut.cli.session import SETTINGS
from kubernaut.history.releases import ReleaseList

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
    "watch": ("watch", "hello-world", "-n", "demo"),
}
LOOKING = {
    "list": ("list",),
    "show": ("show", "demo.hello-world.v3"),
    "history": ("history", "hello-world", "-n", "demo"),
    "explain": ("explain", "hello-world", "-n", "demo"),
    "diff": ("diff", "hello-world", "-n", "demo"),
    "versions": ("versions", "hello-world"),
}
LINES = {**WRITING, **LOOKING, "logs": ("logs", "demo.hello-world.v3")}
CLI_ONLY = {"output", "yes", "help"}
FILES = {"to", "handover"}
"""The files that the command line reads and writes; `diff --to` is an argument of the library."""
LIBRARY_ONLY = {"if_match", "operation", "digest", "diff"}
"""Arguments that only the library and the REST server have."""
SERVER_ONLY = {
    "accept",
    "accepted",
    "acting",
    "close",
    "index",
    "manifest",
    "operation",
    "recover",
    "report",
    "values",
    "with_health",
}
"""Methods of the library for the REST server."""


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
def test_a_command_has_the_options_of_the_library(name: str) -> None:
    parameters = library_parameters(name) - set(SETTINGS) - LIBRARY_ONLY
    shown = (parameter for parameter in command(name).params if not getattr(parameter, "hidden", False))
    offered = {parameter.name for parameter in shown} - CLI_ONLY - set(SETTINGS) - {"verbose"}
    offered = offered if name == "diff" else offered - FILES
    if name == "deploy":  # NAME[@VERSION] is one word on the command line
        offered |= {"version"}
    assert offered == parameters


def test_every_verb_of_the_library_is_a_command() -> None:
    public = {name for name, member in inspect.getmembers(Kubernaut, inspect.isfunction) if not name.startswith("_")}
    assert public - SERVER_ONLY <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_command_calls_the_library_once_and_succeeds(run: Run, stub: StubKubernaut, name: str) -> None:
    result = run(*LINES[name])
    assert result.exit_code == 0, result.output
    assert [verb for verb, _, _ in stub.calls] == [name]
    assert result.stdout.strip()


@pytest.mark.parametrize("name", sorted(LINES))
def test_a_command_passes_known_arguments(run: Run, stub: StubKubernaut, name: str) -> None:
    run(*LINES[name])
    _, args, kwargs = stub.calls[0]
    inspect.signature(getattr(Kubernaut, name)).bind(None, *args, **kwargs)
    assert set(kwargs) <= library_parameters(name)


@pytest.mark.parametrize("name", [*WRITING, *LOOKING])
def test_json_output_is_the_json_of_the_model(run: Run, stub: StubKubernaut, name: str) -> None:
    result = run(*LINES[name], "-o", "json")
    content = json.loads(result.stdout)
    answer = stub.answers[name]
    if name == "versions":
        assert content == {"items": [item.model_dump(mode="json", by_alias=True) for item in answer], "count": 2}
        return
    model = {"build": "image", "publish": "version"}.get(name, "release") if name in WRITING else None
    expected = getattr(answer, model) if model else answer
    assert content == expected.model_dump(mode="json", by_alias=True)


def test_ship_passes_all_options_on(run: Run, stub: StubKubernaut, tmp_path: Path) -> None:
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
        *("--set-string", "port=80", "--set-file", "motd=motd.txt", "--skip-crds"),
        *("--on-conflict", "take", "--take-ownership", "--always"),
        *("--reuse-values", "--no-hooks", "--registry", "r.example.com/team", "--context", "kind", "--kubeconfig", "/k"),
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
                "set_string": ("port=80",),
                "set_json": (),
                "set_file": ("motd=motd.txt",),
                "set_literal": (),
                "skip_crds": True,
                "environment": "production",
                "note": "new greeting",
                "create_namespace": True,
                "on_failure": "keep",
                "on_conflict": "take",
                "take_ownership": True,
                "always": True,
                "reuse_values": True,
                "name": None,
                "no_hooks": True,
                "wait": True,
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
def test_deploy_takes_a_name_with_or_without_a_version(
    run: Run, stub: StubKubernaut, word: str, name: str, number: str | None
) -> None:
    run("deploy", word, "-n", "demo", "--pre")
    _, args, kwargs = stub.calls[0]
    assert (args, kwargs["version"], kwargs["pre"]) == ((name,), number, True)


@pytest.mark.parametrize("word", ["hello-world@", "@1.4.2", "@"])
def test_deploy_refuses_an_incomplete_version(run: Run, word: str) -> None:
    result = run("deploy", word, "-n", "demo")
    assert result.exit_code == 2
    assert re.search(facts(f"{word!r}", "NAME@VERSION"), result.stderr)


def test_a_release_is_named_by_id_or_name(run: Run, stub: StubKubernaut) -> None:
    run("show", "demo.hello-world.v3")
    run("show", "hello-world", "-n", "demo", "--revision", "2")
    assert stub.calls == [
        ("show", ("demo.hello-world.v3",), {"namespace": None, "revision": None}),
        ("show", ("hello-world",), {"namespace": "demo", "revision": 2}),
    ]


@pytest.mark.parametrize("pair", ["replicas", "=3"])
def test_set_requires_a_key_and_a_value(run: Run, pair: str) -> None:
    result = run("ship", "app", "-n", "demo", "--set", pair)
    assert result.exit_code == 2
    assert re.search(facts(f"{pair!r}", "KEY=VALUE"), result.stderr)


def test_an_unchanged_ship_is_reported_as_such(run: Run, stub: StubKubernaut) -> None:
    stub.answers["ship"] = Deployed(Plan(), False, release())
    unchanged = run(*WRITING["ship"]).stdout
    assert re.search(facts("hello-world", "1.4.2", "31fba06", "demo", "demo.hello-world.v3"), unchanged)
    stub.answers["ship"] = Deployed(Plan(), True, release())
    assert run(*WRITING["ship"]).stdout != unchanged


def test_an_unchanged_publish_is_reported_as_such(run: Run, stub: StubKubernaut) -> None:
    stub.answers["publish"] = Published(Plan(), False, version())
    unchanged = run(*WRITING["publish"]).stdout
    assert re.search(facts("hello-world", "1.4.2"), unchanged)
    stub.answers["publish"] = Published(Plan(), True, version())
    assert run(*WRITING["publish"]).stdout != unchanged


def test_list_outside_a_terminal_is_complete(run: Run) -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "NAMESPACE", "REV", "STATUS", "HEALTH", "VERSION", "COMMIT", "BY", "UPDATED"],
        ["hello-world", "demo", "3", "deployed", "-", "1.4.2", COMMIT[:7], "ada@workshop", "2031-05-06T07:08:09Z"],
        ["nginx", "tools", "1", "deployed", "-", "18.1.0", "-", "helm", "2031-05-06T07:08:09Z"],
    ]


def test_versions_outside_a_terminal_have_whole_digests(run: Run) -> None:
    assert run("versions", "hello-world").stdout.count(DIGEST) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "`kubernaut list --all`"),
        (("-n", "demo"), "`kubernaut list -n demo --all`"),
        (("-n", "demo", "--all"), "in demo"),
    ],
)
def test_an_empty_list_is_reported_on_stderr(run: Run, stub: StubKubernaut, arguments: tuple[str, ...], words: str) -> None:
    stub.answers["list"] = ReleaseList(items=(), count=0)
    result = run("list", *arguments)
    assert result.stdout == ""
    assert words in result.stderr


def test_history_has_the_columns_of_helm_and_the_actor(run: Run) -> None:
    text = run("history", "hello-world", "-n", "demo").stdout
    header = text.splitlines()[0]
    for title in ("REV", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION", "COMMIT", "BY", "CAUSE"):
        assert title in header
    assert 'hello-world-1.4.2   1.4.2         31fba06   ada@workshop   -       1.4.2 (31fba06) by ada: "new greeting"' in text


def test_show_prints_all_facts(run: Run) -> None:
    text = run("show", "demo.hello-world.v3").stdout
    for fact in (
        "demo.hello-world.v3",
        "deployed (active, serving)",
        f"127.0.0.1:5000/hello-world@{DIGEST}",
        COMMIT,
        "ada@workshop",
    ):
        assert fact in text


def test_show_omits_unknown_facts_of_a_foreign_release(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = foreign()
    text = run("show", "tools.nginx.v1").stdout
    assert "managed by   helm" in text
    assert "commit" not in text
    assert "None" not in text


def test_show_says_why_the_images_are_unknown(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(images=(), unread="line 812: found undefined alias")
    assert "line 812: found undefined alias" in run("show", "demo.hello-world.v3").stdout


def test_show_prints_the_serving_revision_of_a_failed_release(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(status="failed", serving=2)
    text = run("show", "demo.hello-world.v3").stdout
    assert "failed (active)" in text
    assert "revision 2" in text


def test_logs_as_json_have_one_object_per_line(run: Run) -> None:
    lines = run("logs", "demo.hello-world.v3", "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"line": "hello-0 listening"}, {"line": "hello-0 GET /"}]


def test_control_codes_are_removed_from_a_description(run: Run, stub: StubKubernaut) -> None:
    stub.answers["show"] = release(description="\x1b[2Jgone \x1b]0;title\x07", created_at=MOMENT)
    assert "\x1b" not in run("show", "demo.hello-world.v3").stdout


@pytest.mark.parametrize("verb", ["rollback", "restore"])
def test_way_back_takes_ownership_on_request(run: Run, stub: StubKubernaut, verb: str) -> None:
    for given, taken in (((), False), (("--take-ownership",), True)):
        assert run(*WRITING[verb], *given).exit_code == 0
        assert stub.calls[-1][2]["take_ownership"] is taken
