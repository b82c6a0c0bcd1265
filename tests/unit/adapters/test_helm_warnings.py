"""The warnings of the API server in the output of both Helms."""

from __future__ import annotations

import pytest

from kubernaut.adapters.helm_warnings import api_warning

DEPRECATED = "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+"
SECURITY = 'would violate PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "app" must set it)'
QUOTED = SECURITY.replace('"', '\\"')


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        (f"W1128 20:57:47.701948    2084 warnings.go:70] {SECURITY}", SECURITY),
        (f"W0425 06:25:50.885285 1490774 warnings.go:70] {DEPRECATED}", DEPRECATED),
        (f'I1128 20:57:54.977188    2760 warnings.go:107] "Warning: {QUOTED}"', SECURITY),
        (f"Warning: {DEPRECATED}", DEPRECATED),
        ('I1128 20:57:54.977188    2760 warnings.go:107] "Warning: cut \\', "cut \\"),
        ("W1128 20:57:47.701948    2084 reflector.go:70] failed to list pods", None),
        ('level=WARN msg="upgrade failed" name=r', None),
        ("WARNING: Kubernetes configuration file is group-readable.", None),
        ("Pulled: r.example.com/charts/web:1.0.0", None),
        ("", None),
    ],
)
def test_warning_of_the_api_server_is_found(line: str, warning: str | None) -> None:
    assert api_warning(line) == warning
