"""What the processes that we start have in common: they end with us, and share the machine."""

import os
import sys


def polite_threads() -> dict[str, str]:
    """The environment for a process that computes on CPU: its idle threads give way to others sooner.

    By default they spin for milliseconds at every operation, which costs a process that shares its cores two thirds of
    its speed; so long as here, it costs a quiet machine nothing (GNU OpenMP, which torch's wheels use).
    """
    return {"GOMP_SPINCOUNT": "20000", **os.environ}


def die_with_parent() -> None:
    """Asks the kernel (Linux) to end this process when its parent ends, even by `kill -9`; for `preexec_fn`."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
