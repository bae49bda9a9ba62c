"""Processes that end with the one that started them."""

import sys


def die_with_parent() -> None:
    """Asks the kernel (Linux) to end this process when its parent ends, even by `kill -9`; for `preexec_fn`."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
