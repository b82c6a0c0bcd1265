"""The release index: summaries of all releases in memory, kept current by list and watch."""

from kubernaut.history.index.index import Index, Page, Query
from kubernaut.history.index.watch import Timings

__all__ = ["Index", "Page", "Query", "Timings"]
