"""A version becomes a release.

``values`` merges what was wished, ``plan`` decides (pure), ``operation`` keeps the attempt, ``rollout`` carries the plan out
and reads back what is true, ``explain`` says why pods are not ready (pure). Nothing is built here.
"""
