"""Writes what the documentation takes from the code: ``python -m kubernaut.cli.reference docs`` brings the folder up to date.

All of cli.md is written; in errors.md and settings.md the table between two marks.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from kubernaut.cli.error_handler import EXIT_STATUSES
from kubernaut.cli.main import PROGRAM, SECTIONS, main
from kubernaut.cli.verb import Verb
from kubernaut.errors import error_classes
from kubernaut.settings import SETTINGS

BEGIN, END = "<!-- table: written by `python -m kubernaut.cli.reference docs` -->", "<!-- end of the table -->"
INTRODUCTION = """\
# Command line

Written from the code by `python -m kubernaut.cli.reference docs`; `kubernaut COMMAND --help` says the same.

Data goes to stdout, everything else to stderr. With `-o json` stdout holds one JSON value (`logs`: one a line), on failure too: an
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem with `code`, `detail` and `hint`; [errors.md](errors.md) lists the codes.
With `--dry-run` the value is the plan. Progress is shown live on a terminal and as plain lines elsewhere; `NO_COLOR` is honoured.

A release is named by its id, `NAMESPACE.NAME.vREVISION` (`NAMESPACE.NAME.current`: the newest), or by its name and `-n NAMESPACE`.
"""


def pages(folder: Path) -> dict[Path, str]:
    """Return the pages as they should be, by their paths."""
    tables = {folder / "errors.md": _errors(), folder / "settings.md": _settings()}
    written = {page: _between_marks(page.read_text(encoding="utf-8"), table) for page, table in tables.items()}
    return {folder / "cli.md": command_line(), **written}


def command_line() -> str:
    """Return cli.md."""
    return "\n".join([INTRODUCTION, *_statuses(), *_sections()]).rstrip() + "\n"


def _between_marks(page: str, table: Iterator[str]) -> str:
    content = "\n".join(("", *table, ""))
    return re.sub(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", lambda _: content + "\n", page, count=1, flags=re.DOTALL)


def _statuses() -> Iterator[str]:
    yield "## Exit statuses\n"
    yield "| status | means |\n| --- | --- |"
    yield from (f"| {status} | {meaning} |" for status, meaning in EXIT_STATUSES.items())
    yield ""


def _errors() -> Iterator[str]:
    yield "| code | exit | HTTP | what happened | what to do |\n| --- | --- | --- | --- | --- |"
    for kind in [kind for kind in error_classes() if kind.__module__.startswith("kubernaut.errors.")]:
        what = (kind.__doc__ or "").partition("\n")[0].replace("``", "`")
        yield _row(f"`{kind.code}`", str(kind.exit_status), str(kind.http_status), what, kind.hint)


def _settings() -> Iterator[str]:
    yield "| setting | environment | default | is |\n| --- | --- | --- | --- |"
    for row in SETTINGS:
        variables = ", ".join(f"`{variable}`" for variable in row.variables)
        yield _row(f"`{row.name}`", variables, f"`{row.default}`" if row.default is not None else "", row.help)


def _sections() -> Iterator[str]:
    context = click.Context(main, info_name=PROGRAM, **main.context_settings)  # click keeps the help option that it makes first
    yield "Before any command: `-v` and `--server URL` as after it, `--version` shows kubernaut's own.\n"
    for section, names in SECTIONS.items():
        yield f"## {section}\n"
        for name in names:
            command = main.get_command(context, name)
            if command is not None:
                yield from _command(command, click.Context(command, info_name=name, parent=context))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"### {context.command_path}\n"
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n"
    yield _prose(command.help or "") + "\n"
    if isinstance(command, Verb):
        width = max(len(line) for line, _ in command.examples)
        yield "```bash"
        yield from (f"{line:<{width}}    # {purpose}" for line, purpose in command.examples)
        yield "```\n"
    yield from _options(command, context)
    if isinstance(command, Verb):
        yield command.exit_line() + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(child, click.Context(child, info_name=name, parent=context))


def _prose(help: str) -> str:
    """Turn a help text into Markdown: click's marks for lines that stay as they are go, and indented lines become code."""
    text = inspect.cleandoc(re.sub(r"^[ \t]*\x08\n", "", help, flags=re.MULTILINE))
    return re.sub(r"(\n)((?:  .*(?:\n|\Z))+)", lambda found: "\n\n" + re.sub("(?m)^  ", "    ", found[2]), text)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [_row(f"`{record[0]}`", re.sub(r" +", " ", record[1])) for record in records if record and record[1]]
    if rows:
        yield "| option | is |\n| --- | --- |"
        yield from rows
        yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    for page, text in pages(Path(sys.argv[1])).items():
        page.write_text(text, encoding="utf-8")
