"""The warnings of the API server in Helm's output, such as of an API version that is deprecated."""

from __future__ import annotations

import json
import re

# As the client-go of Helm 3 and of Helm 4 (a quoted text) writes them, and as kubectl does.
_KLOG = re.compile(r"[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ warnings\.go:\d+\] (?P<text>.+)")
_PLAIN = re.compile(r"(?P<text>Warning: .+)")


def api_warning(line: str) -> str | None:
    """Return the API server's warning in a line of Helm's standard error; ``None`` for another line."""
    found = _KLOG.fullmatch(line) or _PLAIN.fullmatch(line)
    if found is None:
        return None
    text = found["text"]
    if text.startswith('"'):
        try:
            text, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            text = text.strip('"')
    return str(text).removeprefix("Warning: ").strip() or None
