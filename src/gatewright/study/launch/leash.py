"""``python -m gatewright.study.launch.leash COMMAND…`` becomes COMMAND, which is asked to leave when its parent dies.

On a cluster a trial's parent is a worker of the engine. If that is killed or loses its master, the trial would go on
unseen, beside the one that is started in its place. A run that is asked to leave saves first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process to its parent (on Linux; elsewhere there is no such thing) and become the command."""
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != int(os.environ.pop("GATEWRIGHT_PARENT")):
            sys.exit("the process that started this one is gone already")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
