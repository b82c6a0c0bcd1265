"""What the routes work with: made once, and passed to them. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.index import Index
    from kubernaut.server.audit import Audit
    from kubernaut.server.auth.authenticator import Gate
    from kubernaut.server.auth.charts import Charts
    from kubernaut.server.metrics import Metrics
    from kubernaut.server.operations.workers import Workers


@dataclass(frozen=True)
class Service:
    """What the routes work with.

    Attributes:
        namespaces: The only ones that it shows and changes; all when there are none.
    """

    kubernaut: Kubernaut
    index: Index
    workers: Workers
    charts: Charts
    gate: Gate
    audit: Audit
    metrics: Metrics
    namespaces: tuple[str, ...] = ()
