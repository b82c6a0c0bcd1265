"""From options to whoever carries the verbs out: :class:`kubernaut.Kubernaut` here, or a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kubernaut.cli.options import chosen_server
from kubernaut.cli.steps import progress
from kubernaut.events import Listener, ignore

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.cli.service import Service
    from kubernaut.jenkins.server import Server
    from kubernaut.settings import Settings

DURATIONS = ("timeout", "lock_timeout")
SETTINGS = ("registry", "context", "kubeconfig", "server", *DURATIONS)
"""The options that are settings; every other option goes to the verb."""
JENKINS = ("jenkins_url", "jenkins_user")


def open_kubernaut(settings: Settings, listener: Listener) -> Kubernaut:
    """Make the service; the one place where the command line does, so that a test can put another in its place."""
    from kubernaut.api import Kubernaut

    return Kubernaut(settings, listener=listener)


def reading(options: dict[str, Any]) -> Service:
    """Open the service for a verb that only looks; takes the settings out of its options."""
    return _open(_settings(options), ignore)


@contextmanager
def writing(options: dict[str, Any]) -> Iterator[Service]:
    """Open the service for a verb that works, and show its steps while the block runs; takes the settings out of its options."""
    settings = _settings(options)
    with progress() as listener:
        yield _open(settings, listener)


def jenkins_settings(options: dict[str, Any]) -> Settings:
    """Return the settings of a verb that works with a Jenkins; takes them out of its options."""
    from kubernaut.settings import load_settings

    return load_settings({name: options.pop(name) for name in JENKINS})


@contextmanager
def jenkins(settings: Settings) -> Iterator[Server]:
    """Open the Jenkins of the settings while the block runs."""
    from kubernaut.jenkins.server import open_server

    server = open_server(settings)
    try:
        yield server
    finally:
        server.close()


def _open(settings: Settings, listener: Listener) -> Service:
    if settings.server is None:
        return open_kubernaut(settings, listener)
    from kubernaut.cli.remote import Remote

    return Remote(settings, listener)


def _settings(options: dict[str, Any]) -> Settings:
    from kubernaut.settings import load_settings

    given = {name: options.pop(name) for name in SETTINGS if name in options}
    settings = load_settings({**given, "server": chosen_server()})
    if settings.server is not None:  # it has settings of its own; what is said here, and not what is the default, goes there
        said = (name for name in DURATIONS if name in given and settings.origins[name] != "default")
        options.update({name: getattr(settings, name) for name in said})
    return settings
