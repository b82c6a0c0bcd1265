"""HTTP to OCI registries, through requests; the only file that imports ``requests``."""

from __future__ import annotations
