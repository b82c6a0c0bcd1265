"""Tie a program to the process that starts it: ``python pdeathsig_exec.py PARENT_PID PROGRAM ARGUMENT…``.

A child of ours runs this file, asks the kernel for SIGTERM when its parent ends, and becomes the program. So Helm ends with
kubernaut however kubernaut ends, ``kill -9`` included, and writes ``failed`` into its record while it does. It is a program of
its own because a ``preexec_fn`` is unsafe in a process with threads. The kernel watches the *thread* that started the child: it
must outlive it. Nothing of kubernaut is imported. Where there is no ``prctl`` (macOS) the program runs untied.
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
            sys.exit(128 + signal.SIGTERM)  # the parent ended before the kernel was told
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)  # Python ignores these, and the program would inherit that
    os.execv(program, [program, *rest])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
