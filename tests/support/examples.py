"""How many examples Hypothesis tries."""

from __future__ import annotations

from hypothesis import settings


def examples(most: int) -> int:
    """Return how many examples a test with few or slow ones tries: the profile ``quick`` may ask for fewer."""
    return min(most, settings.default.max_examples if settings.default else most)
