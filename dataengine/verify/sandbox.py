"""Runs programs that nobody trusts, by bubblewrap: no network, no files but the system's, bounded in all they use.

A sandbox is one start of bubblewrap with `driver.py` as its first process, which runs all tests of one program. Inside
there are the system's `/usr` for reading, an empty `/tmp` in memory, no `/proc`, no other processes, no capabilities,
and a user that is nobody: a process of root's gives up its rights first.

The standard library alone is used here, so that the sandbox can be tried with any Python.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INSTALL = "apt-get install bubblewrap"
#: The interpreter of programs and of the driver: one under a home folder could not be read by the sandbox's user.
PYTHON = "/usr/bin/python3"
COMPILERS = {"python": PYTHON, "cpp": "/usr/bin/g++", "javascript": "/usr/bin/node"}
# Where root's sandboxes find users for themselves: each its own, so that none counts another's processes.
_FIRST_USER = 61_200
_USERS = 500
_LOOK = 0.2
_STOPPED = "stopped"
_taken: set[int] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What a program may use. Times are of one run of it (one standard input, or all tests together)."""

    seconds: float = 5.0
    """Processor time; three times as much may pass."""
    total_seconds: float = 60.0
    """Of all runs together, as it passes."""
    memory: int = 1 << 30
    """Bytes of address space of a process, and of memory of all processes together."""
    processes: int = 32
    output: int = 8 << 20
    """Bytes of a file, or of what is printed."""
    files: int = 64 << 20
    """Bytes of all files together."""


class SandboxProblem(Exception):
    """Why nothing can be run, or how a sandbox broke (`again`: another may not); never about the program."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Sandbox:
    """Runs jobs, each in a sandbox of its own. `run` may be called from several threads; `stop`, once set, ends it."""

    def __init__(self, limits: Limits | None = None, stop: threading.Event | None = None) -> None:
        self.limits = limits or Limits()
        self._stop = stop or threading.Event()

    def run(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the driver reports of a job: one result for every test, case, call and input that it came to.

        A sandbox that takes too much as a whole is one result, marked `whole`: which of the runs it was cannot be told.
        Raises SandboxProblem when there is no sandbox, or when it was stopped or ended from outside.
        """
        if self._stop.is_set():
            raise SandboxProblem(_STOPPED)
        program = COMPILERS.get(str(job.get("language")))
        if program is None:
            raise SandboxProblem(f"no such language: {job.get('language')}; there are {', '.join(COMPILERS)}")
        for needed in (PYTHON, program):
            if not os.access(needed, os.X_OK):
                raise SandboxProblem(f"{needed} is missing")
        payload = json.dumps({**job, "limits": asdict(self.limits)}).encode("utf-8", "surrogatepass")
        with _user() as user:
            return self._report(_command(user, self.limits), payload)

    def _report(self, command: list[str], payload: bytes) -> list[dict[str, Any]]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={},
        )
        watch = _Watch(process, self.limits, self._stop)
        try:
            out, err = watch.communicate(payload)
        finally:
            _kill(process)
        if watch.reason == _STOPPED:
            raise SandboxProblem(_STOPPED)
        if watch.reason:
            return [{"ok": False, "reason": watch.reason, "message": "", "whole": True}]
        said = " ".join(err.decode("utf-8", "replace").split())[-200:]
        told = f"the sandbox ended with exit code {process.returncode}: {said}"
        if process.returncode < 0:
            # Ended in its first moments, bubblewrap leaves a program behind that nobody watches: its report is none.
            raise SandboxProblem(told, again=True)
        try:
            report = json.loads(out)
        except ValueError:
            raise SandboxProblem(told, again=not said.startswith("bwrap:")) from None
        if "broken" in report:
            raise SandboxProblem(f"the sandbox broke: {report['broken']}", again=True)
        results: list[dict[str, Any]] = report["results"]
        return results


def run_anew(sandbox: Sandbox, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`sandbox.run`, once more in a new one where the first was ended from outside."""
    try:
        return sandbox.run(job)
    except SandboxProblem as e:
        if not e.again:
            raise
        return sandbox.run(job)


class _Watch:
    """Waits for a sandbox and ends it when it takes more memory or time than it may."""

    def __init__(self, process: "subprocess.Popen[bytes]", limits: Limits, stop: threading.Event) -> None:
        self._process = process
        self._limits = limits
        self._stop = stop
        self.reason = ""

    def communicate(self, payload: bytes) -> tuple[bytes, bytes]:
        """Standard output and standard error, once it ended."""
        given: bytes | None = payload
        # The driver keeps the time itself; this is for a driver that was stopped.
        left = self._limits.total_seconds + 60
        while True:
            try:
                return self._process.communicate(given, timeout=_LOOK)
            except subprocess.TimeoutExpired:
                given = None
                left -= _LOOK
            if _memory_of(self._process.pid) > self._limits.memory * 1.25:
                self.reason = "memory_limit"
            elif left <= 0:
                self.reason = "time_limit"
            elif self._stop.is_set():
                self.reason = _STOPPED
            if self.reason:
                _kill(self._process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.communicate(timeout=5)
                return b"", b""


def problem() -> str | None:
    """Why no sandbox can be started here, with the command that mends it; None where all is well."""
    try:
        Sandbox().run({"language": "python", "program": "", "tests": ["pass"]})
    except SandboxProblem as e:
        return str(e)
    return None


def _command(user: int, limits: Limits) -> list[str]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxProblem(f"bubblewrap is missing, and programs run nowhere else: {INSTALL}")
    words = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1", "--die-with-parent"]
    words += ["--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--clearenv"]
    for name, value in (("PATH", "/usr/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PYTHONHASHSEED", "0")):
        words += ["--setenv", name, value]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib32", "lib64", "bin"):
        # Folders of their own on some systems, names for parts of /usr on most.
        if Path(f"/{name}").is_symlink():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        else:
            words += ["--ro-bind-try", f"/{name}", f"/{name}"]
    for file in ("/etc/ld.so.cache", "/etc/alternatives"):
        words += ["--ro-bind-try", file, file]
    words += [
        "--dev",
        "/dev",
        "--remount-ro",
        "/dev",
        "--size",
        str(limits.files),
        "--tmpfs",
        "/tmp",
        "--chdir",
        "/tmp",
    ]
    words += ["--remount-ro", "/", PYTHON, "-I", "-S", "-c", _driver()]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise SandboxProblem("setpriv is missing, with which root gives up its rights: apt-get install util-linux")
        words = [setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", *words]
    return words


@functools.cache
def _driver() -> str:
    return (Path(__file__).parent / "driver.py").read_text(encoding="utf-8")


@contextlib.contextmanager
def _user() -> Iterator[int]:
    """A user that no other sandbox of this process has; of interest only to root, who can choose."""
    first = os.getpid() * 7
    with _lock:
        slot = next(s for n in range(_USERS) if (s := (first + n) % _USERS) not in _taken)
        _taken.add(slot)
    try:
        yield _FIRST_USER + slot
    finally:
        with _lock:
            _taken.discard(slot)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    # The first process of a sandbox dies with bubblewrap, and with it everything inside.
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _memory_of(pid: int) -> int:
    """Bytes of memory of a process and all that it started."""
    total, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            waiting += map(int, Path(f"/proc/{current}/task/{current}/children").read_text().split())
            total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * 4096
    return total
