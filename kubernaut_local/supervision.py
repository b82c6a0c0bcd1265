"""Asking supervisord what it runs, over the socket it answers on."""

from __future__ import annotations

import time
import xmlrpc.client
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from kubernaut_local import probe
from kubernaut_local.layout import Layout
from kubernaut_local.model import ProcessStatus

_QUESTION = xmlrpc.client.dumps((), "supervisor.getAllProcessInfo").encode()


def ask(layout: Layout, pids: dict[int, int]) -> list[ProcessStatus] | None:
    """Return each process as supervisord sees it, or none if supervisord does not answer.

    Args:
        layout: The state folder.
        pids: The host's pid by the pid inside; supervisord knows the latter.
    """
    try:
        status, content = probe.unix_post(layout.supervisor_socket, "/RPC2", _QUESTION, "text/xml")
        answer: Any = xmlrpc.client.loads(content)[0][0] if status == 200 else None
    except (*probe.NO_ANSWER, xmlrpc.client.Error, ExpatError):
        # Not started yet, just killed, or shutting down: a dead supervisord leaves its socket file behind.
        return None
    return None if answer is None else [_status(info, pids) for info in answer]


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
