"""The options for a release's values, in Helm's syntax: files, and the ``--set`` family."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

_STDIN = Path("-")


def _read_files(
    context: click.Context, _parameter: click.Parameter, files: tuple[Path, ...]
) -> tuple[Path | Mapping[str, Any], ...]:
    """Return the files, with the content of standard input for ``-``; a name may be a list, as for Helm: ``a.yaml,b.yaml``."""
    split = tuple(_split(files))
    if split.count(_STDIN) > 1:
        raise click.UsageError("--values - can be given once: standard input is read once.", context)
    return tuple(_standard_input() if file == _STDIN else file for file in split)


def _split(files: tuple[Path, ...]) -> Iterator[Path]:
    for file in files:
        if "," in str(file) and not file.exists():
            yield from (Path(name) for name in str(file).split(","))
        else:
            yield file


def _standard_input() -> Mapping[str, Any]:
    from kubernaut.yaml_reader import parse_yaml

    return parse_yaml(sys.stdin.buffer.read(), "standard input")


def _check_pairs(_context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> tuple[str, ...]:
    for pair in pairs:
        if parameter.name == "set_json" and pair.strip().startswith("{"):
            continue
        if not pair.partition("=")[0] or "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not {parameter.make_metavar(_context)}.")
    return pairs


def _pairs(name: str, metavar: str, help: str) -> Any:
    return click.option(name, metavar=metavar, multiple=True, callback=_check_pairs, help=f"{help}; can be repeated.")


VALUE_OPTIONS = (
    click.option(
        "-f",
        "--values",
        metavar="FILE",
        multiple=True,
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        callback=_read_files,
        help="File of chart values, - for standard input; can be repeated, later files win.",
    ),
    _pairs("--set", "KEY=VALUE", "Set one chart value, in the syntax of helm --set; wins over --values and --set-json"),
    _pairs("--set-string", "KEY=VALUE", "Set one chart value to a text, also if it looks like a number; wins over --set"),
    _pairs("--set-json", "KEY=JSON", "Set one chart value to JSON, or several with a JSON object; wins over --values"),
    _pairs("--set-file", "KEY=PATH", "Set one chart value to the text of a file; wins over --set-string"),
    _pairs("--set-literal", "KEY=VALUE", "Set one chart value to this text, without any syntax in it; wins over all others"),
)
"""The options of ``deploy`` and ``ship`` for values; the order of precedence is Helm's."""
