"""The values behind a failure: those that Helm took for another type, and their share of a record that is too large. Pure."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from typing import Any

from kubernaut.history.detail import leaves
from kubernaut.redact import is_secret_key

RECORD_LIMIT = 1 << 20
"""The bytes that Kubernetes allows for the data of a Secret, and so for a release's record."""
_MOST_PAIRS = 3
_TOO_LARGE = ("too long: may not be more than", "request entity too large", "request is too large")


def string_arguments(values: Mapping[str, Any], field: str, given: str) -> str:
    """Return the ``--set-string`` argument that makes texts of the values of annotations or labels; empty if they are not known.

    Args:
        values: The merged values.
        field: The field with the wrong type, such as ``metadata.annotations``.
        given: The type that it was given: ``bool`` or ``number``.
    """
    kinds: dict[str, tuple[type, ...]] = {"bool": (bool,), "number": (int, float)}
    last = next((part for part in ("annotations", "labels") if part in field.split(".")), None)
    if given not in kinds or last is None:
        return ""
    pairs = [
        f"{path}={json.dumps(value)}"
        for path, value in leaves(values)
        if isinstance(value, kinds[given]) and isinstance(value, bool) == (given == "bool") and _belongs(path, last)
    ]
    return ",".join(pairs) if len(pairs) <= _MOST_PAIRS else ""


def _belongs(path: str, last: str) -> bool:
    """Return whether a value is in a map for annotations or labels, and its key is written in ``--set`` as it is."""
    *above, key = re.split(r"(?<!\\)\.", path)
    return (
        any(part.casefold().endswith(last) for part in above)
        and not re.search(r"[=,\[\]{}]", path)
        and not is_secret_key(key.rpartition("/")[2])
    )


def is_too_large(message: str) -> bool:
    """Return whether a message of Helm says that the release's record is too large."""
    return any(text in message.casefold() for text in _TOO_LARGE)


def too_large(what: str, values: Mapping[str, Any], chart_bytes: int) -> tuple[str, str]:
    """Return the message and the hint for a record that is too large: how much of it are the values, and how much the chart.

    Args:
        what: The name of the failed operation.
        values: The merged values.
        chart_bytes: The size of the chart's archive; 0 if it is not known.
    """
    own = _stored(json.dumps(dict(values)).encode())
    chart = chart_bytes * 4 // 3
    rest = f"its chart about {_size(chart)}, and the rendered objects the rest" if chart else "the chart the rest"
    message = (
        f"{what} failed: its record would be larger than {_size(RECORD_LIMIT)}, the most that Kubernetes stores."
        f" Its values take {_size(own)} of it, {rest}."
    )
    if own > (chart or RECORD_LIMIT // 3):
        return message, "Make the values smaller: put large texts into a ConfigMap or a Secret that the chart only names."
    return message, "Make the chart smaller: list files that no template needs in .helmignore, and move large ones into the image."


def _stored(content: bytes) -> int:
    """Return how many bytes a content takes in a record."""
    return len(base64.b64encode(gzip.compress(content, 9)))


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{max(1, round(count / 1024))} KiB"
