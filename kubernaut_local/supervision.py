"""Asking supervisord what it runs, over the socket it answers on."""

from __future__ import annotations

import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from kubernaut_local.layout import Layout
from kubernaut_local.model import ProcessStatus


def ask(layout: Layout, pids: dict[int, int]) -> list[ProcessStatus] | None:
    """Return each process as supervisord sees it, or none if supervisord does not answer.

    Args:
        layout: The state folder.
        pids: The host's pid by the pid inside; supervisord knows the latter.
    """
    transport = SupervisorTransport(None, None, f"unix://{layout.supervisor_socket}")
    proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
    try:
        answer: Any = proxy.supervisor.getAllProcessInfo()
    except (OSError, xmlrpc.client.Error):
        # Not started yet, just killed, or shutting down: a dead supervisord leaves its socket file behind.
        return None
    finally:
        transport.close()
    return [_status(info, pids) for info in answer]


def _status(info: dict[str, Any], pids: dict[int, int]) -> ProcessStatus:
    running = info["statename"] in ("RUNNING", "STARTING", "STOPPING")
    return ProcessStatus(
        name=info["name"],
        state=info["statename"].lower(),
        pid=pids.get(info["pid"]) if running else None,
        uptime_seconds=max(0.0, time.time() - info["start"]) if running else None,
        log=Path(info["logfile"] or info["stdout_logfile"]),
        error=info["spawnerr"],
    )
