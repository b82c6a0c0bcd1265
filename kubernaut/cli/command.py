"""The class of every command, with its help page, and what a command line has chosen."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import click

from kubernaut.cli.helm_options import GIVEN, check_flags, hidden_options, plain_arguments, positional_refusal
from kubernaut.errors import KubernautError

EXIT_STATUSES = {
    0: "done, or nothing to do",
    1: "a defect in kubernaut",
    2: "invalid command line",
    3: "invalid input",
    4: "not found",
    5: "conflict, or locked",
    6: "failed and rolled back",
    7: "failed and kept",
    8: "a service is unreachable",
    9: "forbidden",
    10: "a CI build did not succeed",
    129: "stopped by SIGHUP: the terminal was closed",
    130: "stopped by Ctrl-C",
    141: "the reader of stdout has gone",
    143: "stopped by SIGTERM",
}
WRITE_STATUSES = (0, 2, 3, 4, 5, 6, 7, 8, 9)
ROLLBACK_STATUSES = tuple(status for status in WRITE_STATUSES if status != 6)
"""A rollback, restore or delete that fails is kept, since no earlier release is left to roll back to."""
_AGAIN = re.compile(r"the same command again with `(--[a-z][^`]*)`")
READ_STATUSES = (0, 2, 3, 4, 8, 9)

VERBOSE = "kubernaut.verbose"
"""The key of ``--verbose`` in click's ``Context.meta``, which all contexts of a command line share."""
SERVER = "kubernaut.server"
"""The key of ``--server`` there."""
ARGUMENTS = "kubernaut.arguments"
"""The key there of the words of the command line, without the program."""
REMOTE = "kubernaut.remote"
"""The key there of whether a server runs the command, whichever setting names it."""


class Command(click.Command):
    """A command whose help page ends with its exit statuses.

    Args:
        examples: Command lines, each with its purpose.
        statuses: The exit statuses of the command, besides 1 and those of signals.
        helm: The commands of Helm whose work it does, and whose flags it therefore accepts or refuses with a reason.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[tuple[str, str]] = (),
        statuses: Sequence[int] = READ_STATUSES,
        helm: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.statuses = tuple(statuses)
        self.helm = tuple(helm)
        self.params.extend(hidden_options(helm, self.params))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, also where a flag of Helm has a value that kubernaut's does not take: ``--wait=watcher``."""
        try:
            return super().parse_args(ctx, plain_arguments(args, self.helm, ctx) if self.helm else args)
        except click.UsageError as error:
            refusal = positional_refusal(error, self)
            if refusal is None:
                raise
            named = next((ctx.params[key] for key in ("release", "application") if ctx.params.get(key)), "")
            _fill_hints(refusal, named.partition("@")[0], ctx)
            raise refusal from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that leaves it has hints with the names of the command line."""
        try:
            check_flags(ctx)
            return super().invoke(ctx)
        except KubernautError as failure:
            named = next((ctx.params[key] for key in ("release", "name", "application") if ctx.params.get(key)), "")
            _fill_hints(failure, named.partition("@")[0], ctx)
            _name_command(failure, ctx)
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help: usage, description, examples, options, exit statuses."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line, purpose in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}# {purpose}\n{'':{formatter.current_indent}}{line}\n")
        self.format_options(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(self.exit_line())

    def exit_line(self) -> str:
        """Return the sentence on exit statuses."""
        return "Exit status: " + "; ".join(f"{status} {EXIT_STATUSES[status]}" for status in self.statuses) + "."


def _fill_hints(failure: KubernautError, release: str, context: click.Context) -> None:
    from kubernaut.history.releases import ReleaseId
    from kubernaut.models import check_namespace, check_release_name

    namespace: str | None = context.params.get("namespace")
    with suppress(KubernautError):  # a command to paste has valid names only
        id = ReleaseId.resolve(release, namespace)
        failure.fill_hints(id.namespace, id.name, str(id))
    with suppress(KubernautError):
        failure.fill_hints(namespace=check_namespace(namespace or ""))
    with suppress(KubernautError):
        failure.fill_hints(name=check_release_name(release))
    if namespace is None and any(isinstance(one, NamespaceOption) for one in context.command.params):
        failure.hint = failure.hint.replace(" -n NAMESPACE", "")  # the same default counts for the next command


class NamespaceOption(click.Option):
    """The namespace of a release; without it and without a release ID, that of the kube context (:mod:`kubernaut.cli.session`)."""


def _name_command(failure: KubernautError, context: click.Context) -> None:
    """Make a command to paste of a hint to run the same command again with an option.

    A command line that may have a secret is not repeated.
    """
    from kubernaut.redact import redact

    words: list[str] = context.meta.get(ARGUMENTS) or []
    for refused, value in context.meta.get(GIVEN, {}).items():
        words = _replace_option(words, refused, [], takes_value=bool(value))

    def name(match: re.Match[str]) -> str:
        line = shlex.join(["kubernaut", *_with_option(words, match[1], context)])
        is_option = any(match[1].split()[0] in parameter.opts for parameter in context.command.params)
        can_be_repeated = bool(words) and "--" not in words and "`" not in line and redact(line) == line
        return f"`{line}`" if is_option and can_be_repeated else match[0]

    failure.hint = _AGAIN.sub(name, failure.hint)


def _with_option(words: Sequence[str], option: str, context: click.Context) -> list[str]:
    """Return the words of a command line with an option, instead of that option's earlier value if it can have only one."""
    name, *values = shlex.split(option)
    found = next((one for one in context.command.params if name in one.opts), None)
    if found is None or found.multiple or not values:
        return [*words, name, *values]
    replaced = _replace_option(words, name, [name, *values])
    return replaced if name in replaced else [*replaced, name, *values]


def _replace_option(words: Sequence[str], name: str, others: Sequence[str], *, takes_value: bool = True) -> list[str]:
    """Return the words of a command line with others instead of an option and its value, at the option's first place."""
    kept: list[str] = []
    following = iter(words)
    for word in following:
        if word != name and not word.startswith(f"{name}="):
            kept.append(word)
            continue
        if word == name and takes_value:
            next(following, None)
        kept += others
        others = ()
    return kept


class Group(click.Group):
    """A group of commands that suggests the nearest name for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. Raises: click.UsageError."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx) and not ctx.resilient_parsing:
            near = get_close_matches(name, self.list_commands(ctx), n=1)
            raise click.UsageError(f"Unknown command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)


def chosen_server() -> str | None:
    """Return the value of ``--server``, given before or after the command."""
    context = click.get_current_context(silent=True)
    return context.meta.get(SERVER) if context else None


def is_verbose() -> bool:
    """Return whether ``--verbose`` was given, before or after the command."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(VERBOSE))


def is_remote() -> bool:
    """Return whether a server runs the command."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(REMOTE))


def mark_remote() -> None:
    """Remember that a server runs the command."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[REMOTE] = True


def target_arguments(*names: str) -> str:
    """Return the options of the command line that choose a server, cluster or registry, for a command to run next.

    Args:
        names: The options, such as ``context``; ``server`` and those of the kubeconfig by default.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return ""
    given = {**context.params, "server": context.meta.get(SERVER)}
    chosen = (name for name in names or ("server", "context", "kubeconfig") if given.get(name) is not None)
    return "".join(f" --{name} {shlex.quote(str(given[name]))}" for name in chosen)
