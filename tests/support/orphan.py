"""A ``helm`` that outlives kubernaut; a test sets it as KUBERNAUT_HELM to get an orphan.

The program starts the real Helm in a new session, which neither the kernel's parent-death signal nor a kill of its process
group reaches, ignores SIGTERM itself, and writes down the real Helm's process id.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

# Without the pipes' other ends, which kubernaut hands down, a Helm whose reader is gone would die of SIGPIPE.
_PROGRAM = """#!{python} -ISs
import pathlib, signal, subprocess, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
default = lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
helm = subprocess.Popen([{helm!r}, *sys.argv[1:]], start_new_session=True, close_fds=False, preexec_fn=default)
with open({pids!r}, "a") as file:
    file.write(str(helm.pid) + chr(10))
sys.exit(helm.wait())
"""


@dataclass(frozen=True)
class OrphanWrapper:
    """The wrapper of a Helm.

    Attributes:
        helm: The wrapper's path, for KUBERNAUT_HELM.
        file: Where the real Helms' process ids are written.
    """

    helm: Path
    file: Path

    @property
    def pids(self) -> list[int]:
        """The real Helms that were started, in order."""
        return [int(line) for line in self.file.read_text().split()] if self.file.exists() else []


def write_wrapper(folder: Path, helm: str) -> OrphanWrapper:
    """Write a wrapper of a Helm (an absolute path) into a folder."""
    made = OrphanWrapper(folder / "helm-that-outlives", folder / "helm.pids")
    made.helm.write_text(_PROGRAM.format(python=sys.executable, helm=helm, pids=str(made.file)))
    made.helm.chmod(0o755)
    return made
