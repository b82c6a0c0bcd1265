"""Tiny charts, written into a temporary folder: a ConfigMap deploys in a fraction of a second."""

from __future__ import annotations

from pathlib import Path

CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  text: {{ .Values.text | quote }}
  values: {{ .Values | toJson | quote }}
"""


def write_chart(
    folder: Path,
    name: str = "tiny",
    *,
    version: str = "0.1.0",
    template: str = CONFIG_MAP,
    values: str = "text: hello\n",
    **files: str,
) -> Path:
    """Write a chart; ``files`` are further ones, with ``__`` for ``/`` and ``_`` for ``.`` in their names."""
    chart = folder / name
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: {version}\n")
    (chart / "values.yaml").write_text(values)
    (chart / "templates" / "object.yaml").write_text(template)
    for key, text in files.items():
        path = chart / key.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return chart
