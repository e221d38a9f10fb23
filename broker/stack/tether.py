"""Run a command that the kernel ends when the process that asked for it is gone: PPID COMMAND….

A program of its own, because Python forks no code of ours safely once there are threads. It replaces itself
by the command, so it costs some 20 ms and no process.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(sys.argv[1]):  # it went before the line above could tell the kernel
            sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is the point
