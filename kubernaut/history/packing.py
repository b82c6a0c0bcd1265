"""JSON, packed as a Secret keeps it, and made smaller where it must be. Pure; it knows nothing of what the content means."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

_LARGEST_CONTENT = 16 << 20


def pack(content: Mapping[str, Any]) -> bytes:
    """Return a content as compact JSON, gzipped; the same content is always the same bytes."""
    text = json.dumps(_clean(content), separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def unpack(encoded: str) -> dict[str, Any]:
    """Return the content of what was packed and encoded as base64.

    Raises:
        ValueError: It is no such thing, or endless.
        zlib.error: It is not gzipped.
        RecursionError: It is nested too deeply.
    """
    stream = zlib.decompressobj(wbits=31)
    packed = stream.decompress(base64.b64decode(encoded, validate=True), _LARGEST_CONTENT)
    if not stream.eof:
        raise ValueError("it is cut off" if not stream.unconsumed_tail else f"it holds more than {_LARGEST_CONTENT >> 20} MiB")
    content = json.loads(packed)
    if not isinstance(content, dict):
        raise ValueError("it is no operation")
    return content


def storable(text: str) -> str:
    """Return the text without halves of surrogate pairs, which come from bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cut(value: Any, longest: int) -> Any:
    """Return a value whose texts are no longer than so many characters, and whose lists than a sixteenth of that."""
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, Mapping):
        return {key: cut(item, longest) for key, item in value.items()}
    return tuple(cut(item, longest) for item in value[: longest // 16]) if isinstance(value, list | tuple) else value


def least(enough: Callable[[int], bool], most: int) -> int:
    """Return about the least number up to ``most`` that is enough; ``most`` when none is."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value
