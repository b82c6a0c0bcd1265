"""From a command's options to the backend that runs its verb: :class:`kubernaut.Kubernaut` in this process, or a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from kubernaut.cli.command import chosen_server, mark_remote
from kubernaut.cli.progress import show_progress
from kubernaut.events import Listener, ignore_event

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.cli.remote import RemoteBackend
    from kubernaut.jenkins.server import JenkinsServer
    from kubernaut.settings import Settings

    Backend: TypeAlias = Kubernaut | RemoteBackend

DURATIONS = ("timeout", "lock_timeout")
SETTINGS = ("registry", "context", "kubeconfig", "server", *DURATIONS)
"""The options that are settings; every other option goes to the verb."""
JENKINS = ("jenkins_url", "jenkins_user")


def open_kubernaut(settings: Settings, listener: Listener) -> Kubernaut:
    """Return the verbs of this process; the one place where commands open them, so that a test can replace them."""
    from kubernaut.api import Kubernaut

    return Kubernaut(settings, listener=listener)


def open_backend(options: dict[str, Any]) -> Backend:
    """Return the backend for a verb that only reads; the settings are removed from ``options``."""
    return _open(_pop_settings(options), ignore_event)


@contextmanager
def backend_with_progress(options: dict[str, Any]) -> Iterator[Backend]:
    """Yield the backend for a verb that writes, and show its steps; the settings are removed from ``options``."""
    settings = _pop_settings(options)
    with show_progress() as listener:
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
        chosen = (name for name in DURATIONS if name in given and settings.origins[name] != "default")
        options.update({name: getattr(settings, name) for name in chosen})
    return settings
