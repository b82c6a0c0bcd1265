"""What kubernaut passes to Helm: the values as Helm reads them, durations and labels as arguments. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from kubernaut.errors import ValuesInvalid
from kubernaut.redact import secret_texts

_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def values_input(values: Mapping[str, Any]) -> bytes:
    """Return values as Helm reads them: JSON that is also YAML. Raises: ValuesInvalid."""
    try:
        text = json.dumps(dict(values), ensure_ascii=False, allow_nan=False)
        return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ValuesInvalid(f"The values cannot be written as JSON: {error}.") from error


def go_seconds(seconds: float) -> str:
    """Return a duration as Go reads it, in whole seconds and at least one."""
    return f"{max(1, math.ceil(seconds))}s"


def label_arguments(labels: Mapping[str, str]) -> list[str]:
    """Return the option for labels on Helm's record; none without labels."""
    return ["--labels=" + ",".join(f"{key}={value}" for key, value in sorted(labels.items()))] if labels else []


def secret_arguments(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts below keys of the values that name secrets, longest first: Helm's messages must not repeat them.

    Each is also as Helm quotes it.
    """
    found = {text for _, text in secret_texts(values)}
    return tuple(sorted(found | {json.dumps(text, ensure_ascii=False)[1:-1] for text in found}, key=len, reverse=True))
