"""Patterns for the facts in a message, independent of its wording."""

from __future__ import annotations

import re


def facts(*words: str) -> str:
    """Return a pattern for ``pytest.raises(match=...)``: a text with all of these words, in any order."""
    return "(?s)" + "".join(rf"(?=.*(?<!\w){re.escape(word)}(?!\w))" for word in words)
