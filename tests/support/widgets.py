"""A CustomResourceDefinition on the real cluster, of a group for each test, and its kind ``Widget``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import NotFound
from support.api_calls import call_api
from support.waiting import until

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True)
class Widgets:
    """The definition of the kind ``Widget`` in a group."""

    cluster: Cluster
    group: str

    def create(self) -> None:
        """Create the definition, and wait until the API server serves it."""
        schema: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {"kind": "Widget", "plural": "widgets", "singular": "widget"}
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{self.group}"},
            "spec": {"group": self.group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
        call_api(self.cluster, "POST", _CRDS, body=body)
        self._wait(served=True)

    def delete(self) -> None:
        """Delete the definition with its objects, and wait until the API server does not serve it any more."""
        call_api(self.cluster, "DELETE", f"{_CRDS}/widgets.{self.group}")
        self._wait(served=False)

    def _wait(self, *, served: bool) -> None:
        until(lambda: self._is_served() == served, f"the API server {'serves' if served else 'no longer serves'} it")

    def _is_served(self) -> bool:
        with suppress(NotFound):
            self.cluster.find_resource(f"{self.group}/v1", "Widget")
            return True
        return False
