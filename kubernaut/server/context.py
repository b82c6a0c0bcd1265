"""The context of handlers: the parts of the server, and the data of one request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.index import Index
    from kubernaut.server.audit import Audit
    from kubernaut.server.auth.access import Authenticator, Caller, ChartPolicy
    from kubernaut.server.metrics import Metrics
    from kubernaut.server.operations.workers import Workers
    from kubernaut.server.routing import Route


@dataclass(frozen=True)
class ServerContext:
    """The parts of a server, created once and passed to every route.

    Attributes:
        namespaces: The namespaces that the server shows and changes; all when empty.
    """

    kubernaut: Kubernaut
    index: Index
    workers: Workers
    chart_policy: ChartPolicy
    authenticator: Authenticator
    audit: Audit
    metrics: Metrics
    namespaces: tuple[str, ...] = ()


@dataclass
class RequestContext:
    """One request and its result, for the metrics and the audit log.

    Attributes:
        id: The request ID.
        path: As sent, percent-encoded, without the query.
        headers: By lower-case name.
        client: The client's address.
        started: Seconds on the monotonic clock.
        route: The matched route; ``None`` before that and without a match.
        caller: The authenticated caller; ``None`` before that and on open routes.
        audit_fields: Additions to the audit line: ``release``, ``operation``.
        outcome: The error code of a failed request.
        status: The HTTP status, once the response has started; 0 before.
    """

    id: str
    method: str
    path: str
    headers: Mapping[str, str]
    client: str
    started: float = field(default_factory=time.monotonic)
    route: Route | None = None
    caller: Caller | None = None
    audit_fields: Mapping[str, str] = field(default_factory=dict)
    outcome: str | None = None
    status: int = 0
