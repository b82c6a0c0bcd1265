"""Runs the verb of a command: with its settings, in this process or on a server, and after confirmation where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from kubernaut.cli.command import NamespaceOption, chosen_server, mark_remote, target_arguments
from kubernaut.cli.output import print_message
from kubernaut.cli.progress import show_progress
from kubernaut.cli.render import plan_lines
from kubernaut.errors import Interrupted
from kubernaut.events import Event, Listener, Notice

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.cli.remote import RemoteBackend
    from kubernaut.interface import Deployed
    from kubernaut.jenkins.server import JenkinsServer
    from kubernaut.settings import Settings

    Backend: TypeAlias = Kubernaut | RemoteBackend

DURATIONS = ("timeout", "lock_timeout")
SETTINGS = ("registry", "context", "kubeconfig", "server", *DURATIONS)
"""The options that are settings; every other option goes to the verb."""
JENKINS = ("jenkins_url", "jenkins_user")
_COMPARED = ("deploy", "ship", "rollback")
"""The commands whose dry run compares what would run with what runs."""


def open_kubernaut(settings: Settings, listener: Listener) -> Kubernaut:
    """Return the verbs of this process; the one place where commands open them, so that a test can replace them."""
    from kubernaut.api import Kubernaut

    return Kubernaut(settings, listener=listener)


def open_backend(options: dict[str, Any]) -> Backend:
    """Return the backend for a verb that only reads, and show its notices; the settings are removed from ``options``."""
    return _open(_pop_settings(options), _show_notice)


def _show_notice(event: Event) -> None:
    if isinstance(event, Notice):
        print_message(event.text)


@contextmanager
def backend_with_progress(options: dict[str, Any], *, watching: bool = False) -> Iterator[Backend]:
    """Yield the backend for a verb, and show the steps; the settings are removed from ``options``.

    Args:
        options: The options of the command.
        watching: Whether the steps are those of another process, which a signal does not stop.
    """
    if not options.get("wait", True) and click.get_current_context().params.get("to") is not None:
        raise click.UsageError("--to cannot be combined with --no-wait.", click.get_current_context())
    settings = _pop_settings(options)
    if options.get("dry_run") and click.get_current_context().command.name in _COMPARED:
        options["diff"] = True
    with show_progress(watching=watching) as listener:
        yield _open(settings, listener)


@contextmanager
def local_with_progress(options: dict[str, Any]) -> Iterator[Kubernaut]:
    """Yield the verbs of this process, for a build or a publish, and show their steps; settings are removed from ``options``."""
    settings = _pop_settings(options)
    with show_progress() as listener:
        yield open_kubernaut(settings, listener) if settings.server is None else _remote(settings, listener).local


def jenkins_settings(options: dict[str, Any]) -> Settings:
    """Return the settings for a Jenkins command; they are removed from ``options``."""
    from kubernaut.settings import load_settings

    return load_settings({name: options.pop(name) for name in JENKINS})


@contextmanager
def jenkins(settings: Settings) -> Iterator[JenkinsServer]:
    """Open the Jenkins of the settings while the block runs."""
    from kubernaut.jenkins.server import open_server

    server = open_server(settings)
    try:
        yield server
    finally:
        server.close()


def _open(settings: Settings, listener: Listener) -> Backend:
    return open_kubernaut(settings, listener) if settings.server is None else _remote(settings, listener)


def _remote(settings: Settings, listener: Listener) -> RemoteBackend:
    from kubernaut.cli.remote import RemoteBackend

    return RemoteBackend(settings, listener)


def _pop_settings(options: dict[str, Any]) -> Settings:
    from kubernaut.settings import load_settings

    given = {name: options.pop(name) for name in SETTINGS if name in options}
    settings = load_settings({**given, "server": chosen_server()})
    if settings.server is not None:  # the server has its own settings: it gets those set here, but not the defaults
        mark_remote()
        chosen = (name for name in DURATIONS if name in given and settings.is_given(name))
        options.update({name: getattr(settings, name) for name in chosen})
    _choose_namespace(options, settings)
    return settings


def _choose_namespace(options: dict[str, Any], settings: Settings) -> None:
    """Set the namespace to that of the kube context if the command line names a release without one.

    Raises:
        click.MissingParameter: A server runs the command, and cannot know the kube context.
        ClusterUnreachable: The kubeconfig cannot be used.
    """
    context = click.get_current_context()
    option = next((one for one in context.command.params if isinstance(one, NamespaceOption)), None)
    if option is None or options.get("namespace") is not None or _is_id(context.params.get("release")):
        return
    if settings.server is not None:
        if "release" in context.params:
            return  # the verb names what is wrong
        raise click.MissingParameter(ctx=context, param=option)
    from kubernaut.adapters.kube_connection import context_namespace

    options["namespace"] = context.params["namespace"] = context_namespace(settings.kubeconfig, settings.context)


def _is_id(release: str | None) -> bool:
    """Return whether an argument is the ID of a release or of an operation, which has its namespace."""
    from kubernaut.history.operations import is_operation_id

    return release is not None and ("." in release or is_operation_id(release))


# confirmation


@dataclass(frozen=True)
class Confirmation:
    """The confirmation of a verb.

    Attributes:
        verb: The name of the verb's method.
        question: The question; ``{release}`` stands for the release as the command line names it.
        declined: The message after a no.
    """

    verb: str
    question: str
    declined: str


def run_confirmed(confirmation: Confirmation, release: str, options: Mapping[str, Any], *, yes: bool) -> Deployed:
    """Run a verb; first show its plan and ask, unless ``--yes`` or ``--dry-run`` was given.

    Raises:
        click.UsageError: Without a terminal a confirmation is not possible.
        Interrupted: The answer is no.
    """
    asks = not yes and not options["dry_run"]
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"`{confirmation.verb}` asks for confirmation, which needs a terminal: add --yes to skip it."
        raise click.UsageError(message, click.get_current_context())
    outcome = _run(confirmation.verb, release, {**options, "dry_run": asks or options["dry_run"]})
    if asks and outcome.plan.changes:
        _confirm(confirmation, outcome)
        # By ID, so that a release made meanwhile is not the one that is changed.
        outcome = _run(confirmation.verb, outcome.release.id if outcome.release else release, options)
    return outcome


def _run(verb: str, release: str, options: Mapping[str, Any]) -> Deployed:
    arguments = dict(options)
    with backend_with_progress(arguments) as kubernaut:
        outcome: Deployed = getattr(kubernaut, verb)(release, **arguments)
    return outcome


def _confirm(confirmation: Confirmation, outcome: Deployed) -> None:
    if outcome.plan.reason:
        print_message(outcome.plan.reason)
    for line in plan_lines(outcome.plan):
        print_message(line)
    release = outcome.release
    named = f"{release.name} -n {release.namespace}{target_arguments()}" if release else ""
    lost = ", ".join(name for action in outcome.plan.actions for name in action.removed_definitions)
    first = f"All custom resources of {lost} go with it, in all namespaces, and no restore brings them back. " if lost else ""
    if not click.confirm(first + confirmation.question.format(release=named), err=True):
        raise Interrupted(confirmation.declined, hint=f"Answer y to {confirmation.verb}, or add --yes.")
