"""From options to an open :class:`kubernaut.Kubernaut`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kubernaut.cli.steps import progress
from kubernaut.events import Listener, ignore

if TYPE_CHECKING:
    from kubernaut.kubernaut import Kubernaut
    from kubernaut.settings import Settings

SETTINGS = ("registry", "context", "kubeconfig", "timeout", "lock_timeout")
"""The options that are settings; every other option goes to the verb."""


def open_kubernaut(settings: Settings, listener: Listener) -> Kubernaut:
    """Make the service; the one place where the command line does, so that a test can put another in its place."""
    from kubernaut.kubernaut import Kubernaut

    return Kubernaut(settings, listener=listener)


def reading(options: dict[str, Any]) -> Kubernaut:
    """Open the service for a verb that only looks; takes the settings out of its options."""
    return open_kubernaut(_settings(options), ignore)


@contextmanager
def writing(options: dict[str, Any]) -> Iterator[Kubernaut]:
    """Open the service for a verb that works, and show its steps while the block runs; takes the settings out of its options."""
    settings = _settings(options)
    with progress() as listener:
        yield open_kubernaut(settings, listener)


def _settings(options: dict[str, Any]) -> Settings:
    from kubernaut.settings import load_settings

    return load_settings({name: options.pop(name) for name in SETTINGS if name in options})
