"""git, as a program; argument lists only, never a shell, and nothing that writes."""

from __future__ import annotations
