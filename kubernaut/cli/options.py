"""The options that commands share, each defined once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kubernaut.cli.command import SERVER, VERBOSE, NamespaceOption
from kubernaut.cli.value_options import VALUE_OPTIONS

Function = TypeVar("Function", bound=Callable[..., Any])


def parse_duration(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Parse the value of an option as a duration in seconds; ``None`` if it was not given. Raises: click.BadParameter."""
    from kubernaut import settings

    if text is None:
        return None
    try:
        return settings.parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not {error}.") from error


def combine(*decorators: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Combine decorators into one; the help shows their options in the given order."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _store_verbose(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.meta[VERBOSE] = True


def _store_server(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta[SERVER] = value


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format; json is the JSON of the REST API, on failure an RFC 9457 problem.",
)
verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_store_verbose,
    help="Show the full output of Docker, Helm and other tools, and tracebacks.",
)
context_option = click.option(
    "--context",
    "--kube-context",
    "context",
    metavar="NAME",
    help="Kube context (default: the current context of the kubeconfig).",
)
kubeconfig_option = click.option(
    "--kubeconfig",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Path of the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config).",
)
server_option = click.option(
    "--server",
    metavar="URL",
    expose_value=False,
    callback=_store_server,
    help="Run the command on this kubernaut server (default: $KUBERNAUT_SERVER, then on this machine).",
)
output_options = combine(output_option, verbose_option)
"""The options of every command."""
jenkins_options = combine(
    click.option(
        "--url",
        "jenkins_url",
        metavar="URL",
        help="URL of Jenkins (default: $KUBERNAUT_JENKINS_URL, then $JENKINS_URL).",
    ),
    click.option(
        "--user",
        "jenkins_user",
        metavar="NAME",
        help="Jenkins user (default: $JENKINS_USER). The token is read from a variable or a file; see docs/jenkins.md.",
    ),
)
kubeconfig_options = combine(context_option, kubeconfig_option)
cluster_options = combine(server_option, kubeconfig_options)
registry_option = click.option(
    "--registry", metavar="HOST/PREFIX", help="Registry of images and charts (default: $KUBERNAUT_REGISTRY)."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan without changing anything.")
note_option = click.option(
    "--note", "--description", "note", metavar="TEXT", help="Reason for the change, recorded in the release history."
)
timeout_option = click.option("--timeout", metavar="DURATION", help="Time limit of the operation, such as 90s or 5m (default: 5m).")
lock_timeout_option = click.option(
    "--lock-timeout", metavar="DURATION", help="Time to wait for another operation on the release (default: fail at once)."
)
take_ownership_option = click.option(
    "--take-ownership", is_flag=True, help="Adopt objects that exist and do not belong to the release."
)
on_conflict_option = combine(
    click.option(
        "--on-conflict",
        type=click.Choice(["fail", "take"]),
        help="Fields that others have changed, which Helm 4 refuses: fail, or take them over.",
    ),
    click.option("--force-conflicts", "on_conflict", flag_value="take", help="The same as --on-conflict take."),
)
no_wait_option = click.option(
    "--no-wait",
    "wait",
    is_flag=True,
    flag_value=False,
    default=True,
    help="With a server: print the operation's ID when it is accepted, and exit; `kubernaut watch ID` follows it.",
)
no_hooks_option = click.option(
    "--no-hooks", is_flag=True, help="Leave out the chart's hooks, also those of an unfinished delete that comes first."
)
operation_options = combine(note_option, timeout_option, lock_timeout_option, no_hooks_option, no_wait_option, dry_run_option)
"""The options of ``rollback``, ``delete`` and ``restore``."""
to_option = click.option(
    "--to",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="On success write the JSON of -o json to this file; an existing file is removed first.",
)
revision_option = click.option(
    "--revision", metavar="N", type=click.IntRange(min=1), help="Revision of the release (default: the current one)."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Skip the confirmation; required without a terminal.")
current_revision_option = click.option(
    "--revision", metavar="N", type=click.IntRange(min=1), help="Fail unless this is the current revision of the release."
)
version_option = click.option("--version", metavar="VERSION", help="Version number, as SemVer (default: derived from git).")
namespace_option = click.option(
    "-n",
    "--namespace",
    metavar="NAMESPACE",
    cls=NamespaceOption,
    help="Namespace of the release (default with a NAME: that of the kube context; required with --server).",
)
release_options = combine(
    click.argument("release", metavar="NAME|ID"),
    namespace_option,
)
"""The argument and the option that name a release."""
target_namespace_option = click.option(
    "-n",
    "--namespace",
    metavar="NAMESPACE",
    cls=NamespaceOption,
    help="Namespace to deploy to (default: that of the kube context; required with --server).",
)
release_name_option = click.option("--name", metavar="NAME", help="Name of the release (default: that of the application).")
deploy_options = combine(
    *VALUE_OPTIONS,
    click.option(
        "--environment",
        metavar="NAME",
        help="Environment of the version whose values apply (default: the one named like the namespace).",
    ),
    click.option(
        "--reuse-values",
        "--reset-then-reuse-values",
        "reuse_values",
        is_flag=True,
        help="Merge the values into those of the current release.",
    ),
    click.option("--skip-crds", is_flag=True, help="Do not install the CustomResourceDefinitions in the chart's folder crds."),
    note_option,
    timeout_option,
    lock_timeout_option,
    click.option("--create-namespace", is_flag=True, help="Create the namespace if it does not exist."),
    click.option(
        "--on-failure",
        type=click.Choice(["rollback", "keep"]),
        help="Roll a failed release back, or keep it for inspection (default: onFailure in kubernaut.yaml).",
    ),
    no_hooks_option,
    on_conflict_option,
    take_ownership_option,
    click.option("--always", "--force", "always", is_flag=True, help="Apply the release even if nothing has changed."),
    no_wait_option,
    dry_run_option,
)
"""The options of ``deploy`` and ``ship``."""

app_dir_argument = click.argument("app_dir", metavar="APP_DIR", type=click.Path(path_type=Path))
