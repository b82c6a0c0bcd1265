"""The options that several verbs share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

VERBOSE = "kubernaut.verbose"
"""Where ``--verbose`` is kept in click's ``Context.meta``, which all contexts of a command line share."""
SERVER = "kubernaut.server"
"""Where ``--server`` is kept there."""


def _remember_verbose(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta[VERBOSE] = True


def _check_pairs(_context: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]) -> tuple[str, ...]:
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE.")
    return pairs


def read_duration(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """Read an option's duration, in seconds."""
    from kubernaut.settings import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not {error}.") from error


def _remember_server(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta[SERVER] = value


def chosen_server() -> str | None:
    """Return what ``--server`` says, before or after the verb."""
    context = click.get_current_context(silent=True)
    return context.meta.get(SERVER) if context else None


def is_verbose() -> bool:
    """Say whether ``--verbose`` was given, before or after the verb."""
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(VERBOSE))


def both(*decorators: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Join decorators into one; the help shows their options in the order given."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, or the API's JSON on stdout (an RFC 9457 problem on failure).",
)
verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember_verbose,
    help="Show every line that the tools say, and tracebacks.",
)
context_option = click.option("--context", metavar="NAME", help="The kube context; the kubeconfig's current one by default.")
kubeconfig_option = click.option(
    "--kubeconfig",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The kubeconfig file; KUBECONFIG by default.",
)
server_option = click.option(
    "--server",
    metavar="URL",
    expose_value=False,
    callback=_remember_server,
    help="The kubernaut server that does it, instead of this machine; KUBERNAUT_SERVER by default.",
)
jenkins_options = both(
    click.option("--url", "jenkins_url", metavar="URL", help="Where Jenkins is; KUBERNAUT_JENKINS_URL or JENKINS_URL by default."),
    click.option(
        "--user",
        "jenkins_user",
        metavar="NAME",
        help="Who asks there; JENKINS_USER by default. The token comes from a variable or a file.",
    ),
)
kubeconfig_options = both(context_option, kubeconfig_option)
cluster_options = both(server_option, kubeconfig_options)
registry_option = click.option(
    "--registry", metavar="HOST/PREFIX", help="Where images and charts are; KUBERNAUT_REGISTRY by default."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
note_option = click.option("--note", metavar="TEXT", help="A line for the history: why this is done.")
timeout_option = click.option(
    "--timeout", metavar="DURATION", help="How long it may take until the pods are ready, such as 90s or 5m; 5m by default."
)
lock_timeout_option = click.option(
    "--lock-timeout",
    metavar="DURATION",
    help="How long to wait while somebody else works on the release; not at all by default.",
)
to_option = click.option(
    "--to",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the JSON of `-o json` into this file when all went well; an older one is removed first.",
)
revision_option = click.option(
    "--revision", metavar="N", type=click.IntRange(min=1), help="That release of the name; the current one by default."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")
current_revision_option = click.option(
    "--revision", metavar="N", type=click.IntRange(min=1), help="Only if that is the current release of the name; else a conflict."
)
version_option = click.option("--version", metavar="VERSION", help="The version's number (SemVer); counted from git by default.")
namespace_option = click.option("-n", "--namespace", metavar="NAMESPACE", help="The namespace; not needed with an id.")
target_namespace_option = click.option(
    "-n", "--namespace", metavar="NAMESPACE", required=True, help="The namespace to deploy into."
)

deploy_options = both(
    click.option(
        "--values",
        metavar="FILE",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="A file with values for the chart; may be given again, the last one wins.",
    ),
    click.option(
        "--set",
        metavar="KEY=VALUE",
        multiple=True,
        callback=_check_pairs,
        help="One value for the chart, as Helm's --set; wins over --values.",
    ),
    click.option(
        "--environment", metavar="NAME", help="The version's values for this environment; the namespace's name by default."
    ),
    click.option("--reuse-values", is_flag=True, help="Start from the current release's values instead of the chart's."),
    note_option,
    timeout_option,
    lock_timeout_option,
    click.option("--create-namespace", is_flag=True, help="Create the namespace when it does not exist."),
    click.option(
        "--on-failure",
        type=click.Choice(["rollback", "keep"]),
        help="Bring the release before it back, or keep the failed one to look at; kubernaut.yaml's onFailure by default.",
    ),
    dry_run_option,
)
"""What ``deploy`` and ``ship`` have in common."""

app_dir_argument = click.argument("app_dir", metavar="APP_DIR", type=click.Path(path_type=Path))
release_argument = click.argument("release", metavar="NAME|ID")
