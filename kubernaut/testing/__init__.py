"""Fakes for users' tests; each passes the same contract tests as the real part (``tests/contract``).

Import ``FakeEngine`` from ``engine``, ``FakeRegistry`` from ``registry``, ``FakeCluster`` from ``cluster`` and ``FakeHelm`` from
``helm``.
"""

__all__: list[str] = []
