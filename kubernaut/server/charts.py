"""The charts that the server deploys by reference: those of the registries that it was told. Pure.

Helm would take a path, a URL or a name for a chart as well, and fetch it from wherever that leads. Only one form passes here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kubernaut.errors import ChartRefused, RequestInvalid, SettingInvalid
from kubernaut.settings import registry

_LONGEST = 512
_REPOSITORY = (
    r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*(?::[1-9][0-9]{0,4})?"  # the host
    r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+"
)
_REF = re.compile(rf"oci://(?P<repository>{_REPOSITORY})(?::[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}|@sha256:[0-9a-f]{{64}})")


class Charts:
    """The registries that charts may come from.

    Args:
        prefixes: Each ``HOST[:PORT][/PREFIX]``; all below it is allowed.

    Raises:
        SettingInvalid: One of them is no registry.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = tuple(_segments(_prefix(prefix)) for prefix in prefixes)

    def check(self, ref: str) -> str:
        """Return a chart's reference that may be deployed.

        Raises:
            RequestInvalid: It is not ``oci://HOST/PATH:TAG`` or ``oci://HOST/PATH@sha256:DIGEST``.
            ChartRefused: It lies elsewhere.
        """
        match = _REF.fullmatch(ref) if len(ref) <= _LONGEST else None
        if match is None:
            raise RequestInvalid("A chart is named as oci://HOST/PATH:TAG or oci://HOST/PATH@sha256:DIGEST, in lower case.")
        segments = _segments(match["repository"])
        if not any(segments[: len(prefix)] == prefix for prefix in self._prefixes):
            raise ChartRefused(f"This server deploys no charts from {match['repository']}.")
        return ref


def _segments(path: str) -> list[str]:
    return path.split("/")


def _prefix(text: str) -> str:
    try:
        return registry(text)
    except ValueError as error:
        raise SettingInvalid(f"--allow-charts is {text!r}; expected {error}.") from error
