"""Reads the last lines of containers' logs, all at once and within seconds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernaut.errors import BadInput, ClusterDenied, KubernautError, NotFound
from kubernaut.history.explanation import LOG_LINES, clean, clean_lines
from kubernaut.rollout.logs import UNREADABLE, LogSource

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_SECONDS = 5.0
_LARGEST_LOG = 1 << 20
_LONGEST_LINE = 4_000
_TAILS = (LOG_LINES, 10, 1)
# What the kubelet answers, as if it were the log, when the container or its file is gone.
_GONE = ("unable to retrieve container logs for ", "failed to try resolving symlinks in path ")


def read_logs(
    cluster: Cluster, wanted: Sequence[LogSource], secrets: Sequence[str] = (), *, seconds: float = _SECONDS
) -> dict[LogSource, tuple[str, ...]]:
    """Return the last 50 lines of each log, without secrets and control characters; for one that cannot be read, why not.

    Args:
        cluster: The cluster.
        wanted: The logs.
        secrets: Values that are masked.
        seconds: How long to wait for all of them.
    """
    found: dict[LogSource, tuple[str, ...]] = {}

    def read(source: LogSource) -> None:
        try:
            lines = _read(cluster, source, seconds)
        except KubernautError as error:
            found[source] = (f"{UNREADABLE}{_why(error)}",)
        except Exception as defect:  # noqa: BLE001 - a log is evidence, and must not hide the failure that it is read for
            found[source] = (f"{UNREADABLE}{type(defect).__name__}",)
        else:
            gone = len(lines) == 1 and lines[0].startswith(_GONE)
            found[source] = (f"{UNREADABLE}its node has removed them",) if gone else tuple(clean_lines(lines, secrets))

    until = time.monotonic() + seconds
    threads = [threading.Thread(target=read, args=(source,), daemon=True, name="kubernaut-rollout-log") for source in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = (f"{UNREADABLE}no answer within {seconds:g} s",)
    return {source: found.get(source, late) for source in wanted}


def _read(cluster: Cluster, source: LogSource, seconds: float) -> Sequence[str]:
    """Return the last lines. The limit cuts off the newest ones, so that after a very long line fewer lines are read."""
    until = time.monotonic() + seconds
    lines: deque[str] = deque(maxlen=LOG_LINES)
    for tail in _TAILS:
        lines.clear()
        size = 0
        for line in cluster.pod_log(
            source.namespace,
            source.pod,
            container=source.container,
            tail=tail,
            follow=False,
            previous=source.previous,
            limit_bytes=_LARGEST_LOG,
            timeout=seconds,
        ):
            size += len(line) + 1
            lines.append(line[:_LONGEST_LINE])
            if time.monotonic() > until:
                break
        if size < _LARGEST_LOG:
            break
    return lines


def _why(error: KubernautError) -> str:
    if isinstance(error, ClusterDenied):
        return "the cluster does not accept the credentials" if error.unauthenticated else "no right to read the logs of pods"
    if isinstance(error, NotFound):
        return "the pod does not exist"
    # The API server's own words, such as that the container has not started: "The cluster … refuses: WHY."
    words = error.message.partition(" refuses: ")[2] if isinstance(error, BadInput) else error.message
    return clean(words or error.message).rstrip(".")
