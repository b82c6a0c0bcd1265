"""Tie a program to the process that starts it: ``python pdeathsig_exec.py PARENT_PID PROGRAM ARGUMENT…``.

The child process requests SIGTERM from the kernel for when its parent ends, then executes the program. So Helm stops however
kubernaut ends, ``kill -9`` included, and writes ``failed`` into its record. This is a separate program because a ``preexec_fn`` is
unsafe in a process with threads. The kernel watches the *thread* that started the child, so that thread must outlive it. Nothing of
kubernaut is imported. Without ``prctl`` (macOS) the program is not tied.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the program."""
    parent, program, *rest = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(128 + signal.SIGTERM)  # the parent ended before the request
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)  # Python ignores them, and the program would inherit that
    os.execv(program, [program, *rest])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
