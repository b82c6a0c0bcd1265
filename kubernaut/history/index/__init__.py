"""The index: the releases' facts in memory, kept current by list and watch, so that looking costs the cluster nothing."""

from kubernaut.history.index.index import Index, Page, Query
from kubernaut.history.index.watch import Timings

__all__ = ["Index", "Page", "Query", "Timings"]
