"""The release history: Helm's records and kubernaut's operations, read from the cluster.

:mod:`records` and :mod:`operations` are the codecs of the Secrets, :mod:`releases` describes releases from both, and :mod:`repair`
plans the repair of what an interrupted kubernaut left. All that is pure. :mod:`store` reads the cluster, :mod:`detail` reads one
release in detail (with :mod:`masking`), and :mod:`index` keeps all releases current. Nothing here writes.
"""
