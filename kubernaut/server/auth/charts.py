"""The charts that the server deploys by reference: those of the registries that it was told. Pure.

Helm would take a path, a URL or a name for a chart as well, and fetch it from wherever that leads. Only one form passes here.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubernaut.errors import BadInput, ChartRefused, RequestInvalid, SettingInvalid
from kubernaut.publish.published import ChartReference
from kubernaut.settings import registry


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
        try:
            repository = ChartReference.parse(ref).repository
        except BadInput as wrong:
            raise RequestInvalid(wrong.message, hint=wrong.hint) from wrong
        segments = _segments(repository)
        if not any(segments[: len(prefix)] == prefix for prefix in self._prefixes):
            raise ChartRefused(f"This server deploys no charts from {repository}.")
        return ref


def _segments(path: str) -> list[str]:
    return path.split("/")


def _prefix(text: str) -> str:
    try:
        return registry(text)
    except ValueError as error:
        raise SettingInvalid(f"--allow-charts is {text!r}; expected {error}.") from error
