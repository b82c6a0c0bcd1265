"""The help pages: sections, examples, and no imports of client libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from kubernaut.cli import main as main_module
from kubernaut.cli.command import Command
from kubernaut.cli.main import COMMANDS, JENKINS_COMMANDS, SECTIONS, main

Run = Callable[..., Result]
HEAVY = {
    "docker",
    "pyhelm3",
    "lightkube",
    "requests",
    "bottle",
    "waitress",
    "prometheus_client",
    "jenkins",
    "rich",
    "supervisor",
    "kubernaut_local",
}


LEAVES = [*(name for name in COMMANDS if name != "jenkins"), *(f"jenkins {name}" for name in JENKINS_COMMANDS)]


def verb(name: str) -> Command:
    command: click.Command | None = main
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert isinstance(command, Command)
    return command


@pytest.mark.parametrize(
    "line", [["--help"], ["ship", "--help"], ["--version"], ["completion", "bash"], [], ["jenkins", "setup", "--help"]]
)
def test_help_imports_no_client_library(line: list[str]) -> None:
    script = "\n".join(
        (
            "import sys",
            "from kubernaut.cli.main import main",
            "try: main(sys.argv[1:])",
            "except SystemExit as end: assert not end.code, end.code",
            "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)",
        )
    )
    done = subprocess.run([sys.executable, "-c", script, *line], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_help_groups_the_commands(run: Run) -> None:
    text = run("--help").stdout
    for section, names in SECTIONS.items():
        assert f"\n{section}:\n" in text
        for name in names:
            assert f"\n  {name} " in text


def test_kubernaut_without_a_command_prints_its_help(run: Run) -> None:
    assert run().exit_code == 0
    assert run().stdout == run("--help").stdout == run("-h").stdout


def test_a_group_without_a_command_prints_its_help(run: Run) -> None:
    assert run("jenkins").exit_code == 0
    assert run("jenkins").stdout == run("jenkins", "--help").stdout
    for name in JENKINS_COMMANDS:
        assert f"\n  {name} " in run("jenkins").stdout


@pytest.mark.parametrize(("line", "command"), [(["shpi"], "ship"), (["jenkins", "setpu"], "setup")])
def test_a_misspelt_command_is_corrected(run: Run, line: list[str], command: str) -> None:
    result = run(*line)
    assert result.exit_code == 2
    assert repr(command) in result.stderr


@pytest.mark.parametrize("name", LEAVES)
def test_each_help_has_a_summary_examples_and_exit_statuses(run: Run, name: str) -> None:
    text = run(*name.split(), "--help").stdout
    assert len(verb(name).get_short_help_str(limit=1000)) <= 60, "one line in the list of commands"
    assert 2 <= len(verb(name).examples) <= 3
    assert "Exit status: 0 done, or nothing to do; " in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("name", LEAVES)
def test_each_example_can_be_parsed(name: str) -> None:
    import shlex

    for line, _ in verb(name).examples:
        words = shlex.split(line.split(" > ")[0].removeprefix('eval "$(').removesuffix(')"'))
        words = [word for word in words if "=" not in word or word.startswith("-") or not word.startswith("KUBERNAUT_")]
        assert words[0] == "kubernaut"
        command: click.Command | None = main
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words[1])
            words = words[1:]
        assert command is not None
        command.make_context(words[0], words[1:])


@pytest.mark.parametrize("name", LEAVES)
def test_each_command_has_the_common_options(name: str) -> None:
    options = {option for parameter in verb(name).params for option in parameter.opts}
    assert {"-o", "--output", "-v", "--verbose"} <= options
    writes = name in ("build", "publish", "deploy", "ship", "rollback", "delete", "restore", "unlock", "jenkins setup")
    assert ("--dry-run" in options) is writes
    meets_cluster = not name.startswith("jenkins ") and name not in ("build", "publish", "versions", "config", "completion")
    assert ("--context" in options and "--kubeconfig" in options) is meets_cluster
    assert ("--registry" in options) is (name in ("build", "publish", "deploy", "ship", "versions", "serve"))


def test_version_option(run: Run) -> None:
    assert run("--version").stdout.startswith("kubernaut ")


class _Point:
    """An entry point as of importlib.metadata."""

    def __init__(self, name: str, loaded: click.Command | Exception) -> None:
        self.name = name
        self._loaded = loaded

    def load(self) -> click.Command:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_another_distribution_can_add_a_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(help="Greet.")
    def greet() -> None:
        click.echo("hello")

    monkeypatch.setattr(main_module, "_plugins", lambda: {"greet": _Point("greet", greet)})
    assert "\nMore:\n  greet  Greet.\n" in run("--help").stdout
    assert run("greet").stdout == "hello\n"


@pytest.mark.parametrize("points", [{}, {"local": _Point("local", ImportError("No module named 'supervisor'"))}])
def test_local_without_its_libraries_names_the_package_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, points: dict[str, _Point]
) -> None:
    monkeypatch.setattr(main_module, "_plugins", lambda: points)
    for line in (("local",), ("local", "up", "--anything"), ("local", "--help")):
        result = run(*line)
        assert result.exit_code == 8
        assert 'pip install "kubernaut-deploy[local]"' in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    assert "_KUBERNAUT_COMPLETE" in run("completion", shell).stdout


def test_completion_completes() -> None:
    environment = {"_KUBERNAUT_COMPLETE": "bash_complete", "COMP_WORDS": "kubernaut ro", "COMP_CWORD": "1"}
    assert CliRunner().invoke(main, [], env=environment).stdout == "plain,rollback\n"
    environment = {"_KUBERNAUT_COMPLETE": "bash_complete", "COMP_WORDS": "kubernaut ship --on-failure ", "COMP_CWORD": "3"}
    assert CliRunner().invoke(main, [], env=environment).stdout == "plain,rollback\nplain,keep\n"
