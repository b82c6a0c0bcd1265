"""Fakes for your own tests: each passes the same contract tests as what it stands for (``tests/contract``).

``engine`` holds ``FakeEngine``, ``registry`` ``FakeRegistry``, ``cluster`` ``FakeCluster`` and ``helm`` ``FakeHelm``; import them
from their modules.
"""

__all__: list[str] = []
