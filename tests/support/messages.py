"""Patterns for the facts in a message, independent of its wording."""

from __future__ import annotations

import re
import shlex


def facts(*words: str) -> str:
    """Return a pattern for ``pytest.raises(match=...)``: a text with all of these words, in any order."""
    return "(?s)" + "".join(rf"(?=.*(?<!\w){re.escape(word)}(?!\w))" for word in words)


def suggested(hint: str) -> list[str]:
    """Return the charts of the commands in a hint to run the same command again with another ``--chart``."""
    return [shlex.split(text)[0] for text in re.findall(r"the same command again with `--chart ([^`]+)`", hint)]
