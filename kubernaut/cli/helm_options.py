"""The hidden options for Helm's flags: some are accepted because the command always does the same, the others are refused.

A command that does the work of a command of Helm takes every flag of it, unless it has an option of that name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from kubernaut.cli.helm_flags import FLAGS, HelmFlag
from kubernaut.errors import Usage

_REFUSED = "kubernaut.helm_flag"
"""The key of the first refused flag in click's ``Context.meta``."""
GIVEN = "kubernaut.helm_values"
"""The key there of the values of refused flags, by flag."""
_VALUES: Mapping[str, Mapping[str, str]] = {
    "--dry-run": {"server": "--dry-run", "client": "--dry-run=client", "none": "", "unset": "--dry-run"},
    "--wait": {"watcher": "--wait", "legacy": "--wait", "hookonly": "--wait=hookOnly", "false": "--wait=hookOnly"},
}
"""What becomes of the values of flags that need none; empty for a flag that is left out."""
_EXTRA = re.compile(r"unexpected extra arguments? \((?P<words>.+)\)")
_EXTRA_HINTS = {
    "chart": "Name the chart with --chart: `kubernaut deploy NAME --chart WORD -n NAMESPACE`.",
    "deploy": "Deploy a published version, `kubernaut deploy NAME@VERSION -n NAMESPACE`, or a source folder, "
    "`kubernaut ship APP_DIR -n NAMESPACE`.",
    "rollback": "Name the revision with --revision: `kubernaut rollback NAME -n NAMESPACE --revision WORD`.",
    "delete": "Delete one at a time: `kubernaut delete NAME -n NAMESPACE`, then `kubernaut delete WORD -n NAMESPACE`.",
}
"""The hints for arguments that Helm's commands have."""
_VERSION = re.compile(r"v?[0-9][0-9A-Za-z.+-]*")
_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def flags_of(helm: Sequence[str]) -> Iterator[HelmFlag]:
    """Yield the flags of these commands of Helm."""
    yield from (flag for flag in FLAGS if any(command in flag.commands for command in helm))


def hidden_options(helm: Sequence[str], known: Sequence[click.Parameter]) -> Iterator[click.Option]:
    """Yield the hidden options of a command of kubernaut, without those that it has itself.

    Args:
        helm: The commands of Helm whose work it does.
        known: The parameters of the command.
    """
    taken = {option for parameter in known for option in (*parameter.opts, *parameter.secondary_opts)}
    for flag in flags_of(helm):
        names = [name for name in flag.names if name not in taken and "=" not in name]
        if flag.fate == "same" or flag.name in taken or not names:
            continue
        taken.update(names)
        how: dict[str, Any] = {"multiple": True} if flag.takes_value else {"is_flag": True}
        names.append(f"helm{flag.name.replace('-', '_')}")  # a separate parameter: --wait is not the opposite of --no-wait
        yield click.Option(names, hidden=True, expose_value=False, callback=_callback(flag), **how)


def _callback(flag: HelmFlag) -> Any:
    def note(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value and flag.fate == "refused":
            context.meta.setdefault(_REFUSED, flag)
            context.meta.setdefault(GIVEN, {})[flag.name] = value[-1] if flag.takes_value else ""

    return note


def plain_arguments(arguments: Sequence[str], helm: Sequence[str], context: click.Context) -> list[str]:
    """Return the arguments without the values that Helm's flags without a value may have, as in ``--wait=watcher``."""
    booleans = {name for flag in flags_of(helm) if not flag.takes_value for name in flag.names if name.startswith("--")}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found: list[str] = []
    for argument in arguments[:end]:
        name, equals, value = argument.partition("=")
        flag = _VALUES.get(name, {}).get(value.lower()) if equals else None
        if flag is None and equals and name in booleans and name != "--help" and value.lower() in _BOOLEANS:
            flag = name if _BOOLEANS[value.lower()] else ""
        if flag is not None and "=" in flag:
            context.meta.setdefault(_REFUSED, next(one for one in FLAGS if one.name == flag))
        elif flag != "":
            found.append(argument if flag is None else flag)
    for reused in ("--reuse-values", "--reset-then-reuse-values"):
        if "--reset-values" in found and reused in found:
            raise click.UsageError(f"--reset-values cannot be combined with {reused}.", context)
    if "--cleanup-on-fail" in found and ("--on-failure=keep" in found or ("--on-failure", "keep") in pairwise(found)):
        raise click.UsageError("--cleanup-on-fail cannot be combined with --on-failure keep.", context)
    found += [flag.stands_for for flag in flags_of(helm) if flag.stands_for and flag.name in found]
    return [*found, *arguments[end:]]


def positional_refusal(error: click.UsageError, command: click.Command) -> Usage | None:
    """Return the refusal of an argument that Helm's command has and kubernaut's has not; ``None`` for another error."""
    found = _EXTRA.search(error.message)
    if found is None or command.name not in _EXTRA_HINTS:
        return None
    word = shlex.quote(found["words"].split()[0])
    has_chart = any("--chart" in parameter.opts for parameter in command.params)
    hint = _EXTRA_HINTS["chart" if command.name == "deploy" and has_chart else command.name]
    return Usage(f"{error.message.rstrip('.')}.", hint=hint.replace("WORD", word))


def check_flags(context: click.Context) -> None:
    """Refuse the first flag of Helm that the command line has and kubernaut does not. Raises: Usage."""
    flag: HelmFlag | None = context.meta.get(_REFUSED)
    if flag is None:
        return
    given, hint = context.meta.get(GIVEN, {}), flag.instead
    version = given.get("--version", "")
    if flag.name in ("--version", "--repo"):
        chart = _chart_of_flags(context.params.get("chart") or "", version, given.get("--repo", ""))
        if chart is not None:
            hint = f"Run the same command again with `--chart {shlex.quote(chart)}`."
        elif _VERSION.fullmatch(version):
            hint = hint.replace("@VERSION", f"@{version}")
    raise Usage(f"`{flag.name}` is not supported: {flag.why}.", hint=hint)


def _chart_of_flags(chart: str, version: str, repository: str) -> str | None:
    """Return the reference that Helm's flags beside ``--chart`` mean; ``None`` if there is none."""
    from kubernaut.publish.chart_reference import with_version

    if not chart or (repository and "/" in chart):
        return None
    named = f"{repository.rstrip('/')}/{chart}" if repository else chart
    return with_version(named, version) or (chart if Path(chart).exists() else None)
