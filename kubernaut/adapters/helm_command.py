"""The arguments of a Helm command, as ``pyhelm3.Command`` writes them; the only file that imports ``pyhelm3``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import pyhelm3

from kubernaut.adapters.helm_arguments import values_input

T = TypeVar("T")


class Command(pyhelm3.Command):  # type: ignore[misc]
    """The arguments that pyhelm3 writes, with our runner; one object per start of Helm.

    Args:
        run: Runs Helm with arguments and input.
        extra: Arguments that pyhelm3 does not support.
        values: The standard input. Not as pyhelm3 writes it: Helm reads it as YAML, which does not know JSON's surrogate pairs, so
            an emoji in a value would fail.
        history_max: For the commands that prune the history.
    """

    def __init__(
        self, run: Callable[[list[str], bytes], object], *extra: str, values: Mapping[str, Any] | None = None, history_max: int = 0
    ) -> None:
        super().__init__(history_max_revisions=history_max)
        self._run = run
        self._extra = extra
        self._input = b"" if values is None else values_input(values)

    async def run(self, command: list[Any], input: bytes | None = None) -> bytes:  # noqa: ARG002 - see ``values``
        """Run Helm, and return nothing of its output to pyhelm3.

        ``--output json`` is left out: it prints the whole release, values and all, which nothing needs and which no process would
        read if kubernaut were killed meanwhile.
        """
        argv = [str(part) for part in command]
        if "--output" in argv:
            del argv[argv.index("--output") : argv.index("--output") + 2]
        self._run([*argv, *self._extra], self._input)
        return b"{}"


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, in this thread, with or without a running event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("pyhelm3 waited for something other than Helm")
