"""A version becomes a release.

``values`` merges what was wished, ``plan`` decides (pure), ``operation`` and ``ledger`` keep the attempt, ``rollout`` carries the
plan out and reads back what is true, ``explain`` says why pods are not ready (pure). ``accepted`` is for a server, which answers
before it works. Nothing is built here.
"""
