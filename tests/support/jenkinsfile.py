"""The shell scripts of a Jenkinsfile, as Jenkins would run them."""

from __future__ import annotations

import re

from support.checkout import REPOSITORY


def scripts(path: str) -> list[str]:
    """Return the scripts of a Jenkinsfile of the repository, in order; all are Groovy's single-quoted texts."""
    text = (REPOSITORY / "jenkins" / path).read_text(encoding="utf-8")
    return [script.replace("\\\\", "\\") for script in re.findall(r"sh '''(.*?)'''", text, re.DOTALL)]
