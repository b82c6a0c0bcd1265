"""The wait for a condition, with a deadline: the place where tests poll."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


def until(condition: Callable[[], object], what: str = "what is waited for", seconds: float = 30.0) -> None:
    """Wait until a condition holds; asked often at first, and less often once it takes time."""
    pause, deadline = _FIRST_PAUSE, time.monotonic() + seconds
    clock = threading.Event()  # some tests replace time.sleep
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not so: {what}"
        clock.wait(pause)
        pause = min(pause * 1.2, _LONGEST_PAUSE)
