"""The documentation is true: it covers the code, its names exist, and its examples run."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.in_process_server import InProcessServer

import kubernaut
from kubernaut.cli import reference
from kubernaut.cli.error_handler import Usage
from kubernaut.cli.main import SECTIONS, main
from kubernaut.errors import error_classes
from kubernaut.publish.application import Application, Image, Pin, Probe
from kubernaut.rollout.problems import Cause
from kubernaut.server.openapi import with_document
from kubernaut.server.routes import all_routes
from kubernaut.server.routes.writes import NewRelease
from kubernaut.settings import SETTINGS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *DOCS.glob("*.md"),
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("charts/**/*.md"),
        *ROOT.glob("jenkins/*.md"),
    ]
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
UNFENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", UNFENCED.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of these languages; an empty language is a fence that names none."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text_of(page), re.DOTALL | re.MULTILINE)
    return [text for language, text in fenced if language in languages]


def command_lines(page: Path) -> Iterator[list[str]]:
    """Find the kubernaut commands that stand in fenced blocks."""
    for block in blocks(page, "", "bash"):
        for line in block.splitlines():
            words = line.split(" #")[0].split(" > ")[0].strip()
            if words.startswith("kubernaut "):
                yield shlex.split(words)[1:]


def test_every_cause_is_documented() -> None:
    causes = text_of(DOCS / "errors.md").partition("## Causes")[2]
    cells = re.findall(r"^\| (`[^|]*) \|", causes, flags=re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(Cause)


@pytest.mark.parametrize("name", ["cli.md", "coming-from-helm.md", "errors.md", "settings.md"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    expected = reference.pages(DOCS)[DOCS / name]
    assert text_of(DOCS / name) == expected, "run: python -m kubernaut.cli.reference docs"


def all_commands(group: click.Group = main, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands by their names, those of a group after it: `jenkins`, `jenkins setup`, ...."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield above + name, command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{above}{name} ")


def test_every_command_and_option_is_documented() -> None:
    page = text_of(DOCS / "cli.md")
    for name, command in all_commands():
        assert f"### kubernaut {name}\n" in page
        section = page.split(f"### kubernaut {name}\n")[1].split("\n### kubernaut ")[0]
        for parameter in command.params:
            for option in () if getattr(parameter, "hidden", False) else parameter.opts:
                assert not option.startswith("-") or option in section, (name, option)


def test_every_error_code_is_documented() -> None:
    page = text_of(DOCS / "errors.md")
    for kind in {*error_classes(), Usage}:
        assert f"| `{kind.code}` | {kind.exit_status} |" in page


def test_every_setting_and_variable_is_documented() -> None:
    page = text_of(DOCS / "settings.md")
    for row in SETTINGS:
        line = next(line for line in page.splitlines() if line.startswith(f"| `{row.name}` |"))
        assert row.help in line
        assert all(variable in line for variable in row.variables)


def test_every_public_name_is_documented() -> None:
    page = text_of(DOCS / "library.md")
    for name in kubernaut.__all__:
        assert re.search(rf"`{name}\b", page), name
    verbs = [name for name, member in vars(kubernaut.Kubernaut).items() if callable(member) and not name.startswith("_")]
    for verb in verbs:
        assert re.search(rf"`{verb}\(", page), verb


def test_every_key_of_kubernaut_yaml_is_documented() -> None:
    page = text_of(DOCS / "kubernaut-yaml.md")
    for model, prefix in ((Application, ""), (Image, "image."), (Pin, "pin."), (Probe, "probe.")):
        for name, field in model.model_fields.items():
            key = f"{prefix}{field.alias or name}"
            assert f"`{key}`" in page or key in ("directory", "image", "pin", "probe"), key


def test_every_command_that_the_code_names_exists() -> None:
    commands = dict(all_commands())
    for file in [*ROOT.glob("kubernaut/**/*.py"), *ROOT.glob("kubernaut_local/**/*.py"), *ROOT.glob("examples/*.py")]:
        for name, child in re.findall(r"`kubernaut ([a-z]+)(?: ([a-z]+)\b)?", text_of(file)):
            assert name in commands, (file, name)
            if child and isinstance(commands[name], click.Group):
                assert f"{name} {child}" in commands, (file, name, child)


def test_the_readme_lists_every_command() -> None:
    rows = re.findall(r"^\| `kubernaut (\w+)(.*?)` \|", README, re.MULTILINE)
    commands = dict(all_commands())
    assert {name for name, _ in rows} == {name for names in SECTIONS.values() for name in names}
    shown_verbs = {f"{name} {rest.split()[0]}" for name, rest in rows if rest and f"{name} {rest.split()[0]}" in commands}
    assert shown_verbs >= {name for name in commands if name.startswith("jenkins ")}
    for name, rest in rows:
        verb, _, others = rest.strip().partition(" ")
        command = commands.get(f"{name} {verb}")
        rest, command = (others, command) if command is not None and name != "local" else (rest, commands[name])
        arguments = [
            parameter.make_metavar(click.Context(command))
            for parameter in command.params
            if parameter.param_type_name == "argument"
        ]
        shown = rest.replace("\\|", "|").split(" -n")[0].split()
        assert len(shown) == (1 if name == "local" else len(arguments)), (name, shown)


def functions(file: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(text_of(file))) if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_test_that_exists() -> None:
    page = text_of(DOCS / "reliability.md")
    rows = page.split("| --- | --- | --- | --- | --- |\n")[1].split("\n\n")[0].splitlines()
    assert rows
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row.split(" | ")[-1])
        assert len(row.split(" | ")) == 5, row
        assert tests, row
    for path, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page):
        assert (ROOT / path).exists(), path
        assert test in functions(ROOT / path), (path, test)


def test_every_file_of_fault_tests_is_in_the_table() -> None:
    page = text_of(DOCS / "reliability.md")
    for file in ROOT.glob("tests/faults/test_*.py"):
        assert f"`{file.relative_to(ROOT)}::test_" in page, file.name


def test_the_codes_and_settings_that_the_reliability_page_names_exist() -> None:
    known = {kind.code for kind in error_classes()} | {row.name for row in SETTINGS}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text_of(DOCS / "reliability.md")))
    assert "release_locked" in named
    assert named <= known, named - known


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", UNFENCED.sub("", text_of(page))):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_that_a_hint_names_exists() -> None:
    for kind in error_classes():
        for path in re.findall(r"(?:docs|examples)/[\w./-]+", str(kind.hint)):
            assert (ROOT / path.rstrip(".")).exists(), (kind, path)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", text_of(page))) | set(re.findall(r"^ *make ([a-z-]+)", text_of(page), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_command_lines_can_be_parsed(page: Path) -> None:
    for words in command_lines(page):
        context = click.Context(main)
        command = main.get_command(context, words[0])
        assert command is not None, words
        rest = words[1:]
        if isinstance(command, click.Group):
            child = command.get_command(context, rest[0])
            assert child is not None, words
            command, rest = child, rest[1:]
        command.make_context(words[0], rest)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_blocks_compile(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}:{number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pages_contain_no_local_paths(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:home/(?!node)|root/|Users/|work/)", text_of(page))


def test_every_path_in_the_architecture_exists() -> None:
    page = UNFENCED.sub("", text_of(DOCS / "architecture.md"))
    paths = set(re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:py|md|toml))`", page))
    assert len(paths) > 40
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "kubernaut" / path).exists(), path


def test_every_call_of_the_api_is_documented(tmp_path: Path) -> None:
    routes = with_document(all_routes(InProcessServer(tmp_path).context))
    rows = re.findall(r"^\| `([A-Z]+) (/\S*)` \|", text_of(DOCS / "api.md"), re.MULTILINE)
    assert sorted(rows) == sorted((route.method, route.path) for route in routes)


def test_every_field_of_a_new_release_is_documented() -> None:
    table = text_of(DOCS / "api.md").split("`POST /api/releases` takes:")[1].split("\n\n")[1]
    fields = {field.alias for field in NewRelease.model_fields.values()}
    assert {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])} == fields
