"""For threads that list and watch a cluster: a step repeated until it is stopped, and a watch that another thread closes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential, wait_random

from kubernaut.adapters.kube_http import ResourceExpired, Watch
from kubernaut.errors import KubernautError

FAILURES = (KubernautError, ResourceExpired)
"""The failures of a step, which is then repeated."""
SHORTEST_WATCH = 0.5
"""A watch that ends sooner, in seconds, and without an event, is a failure."""


def repeat(step: Callable[[], object], stopping: threading.Event, *, first_pause: float, longest_pause: float) -> None:
    """Repeat a step until stopped.

    Args:
        step: Raises one of :data:`FAILURES` to be repeated after a pause; anything else ends the repetition.
        stopping: Is set to end the repetition, also during a pause.
        first_pause: Seconds before the first retry; they double with each retry, and a random part is added.
        longest_pause: The longest such pause in seconds.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(FAILURES),
        wait=wait_exponential(first_pause, longest_pause) + wait_random(0, first_pause),
        sleep=sleep_using_event(stopping),
        stop=stop_when_event_set(stopping),
        reraise=True,
    )
    while not stopping.is_set():
        with suppress(*FAILURES):  # raised only while stopping
            attempts(step)


class OpenWatch:
    """The watch that a thread reads at the moment, and that another thread closes.

    Args:
        stopping: Is set when the thread is to end.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._watch: Watch | None = None
        self._lock = threading.Lock()

    def hold(self, watch: Watch) -> None:
        """Note a watch that was just opened; it is closed at once if the thread is to end."""
        with self._lock:
            self._watch = watch
            if self._stopping.is_set():
                watch.close()

    def stop(self) -> None:
        """Ask the thread to end, and close its watch."""
        with self._lock:
            self._stopping.set()
            if self._watch is not None:
                self._watch.close()
