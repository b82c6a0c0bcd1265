"""``kubernaut jenkins setup``: the Release and the Deploy job of each application, on a Jenkins."""

from __future__ import annotations

from kubernaut.cli.verb import Verb

setup = Verb("setup", help="Put an application's Release and Deploy job on a Jenkins.")
