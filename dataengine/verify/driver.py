"""The first process of a sandbox: takes a job from standard input, runs its program, and reports.

Sandboxes get this file's text and the system's Python, nothing else of this package, so it uses the standard library
alone, and little of it: every import costs each sandbox milliseconds. As process 1 it cannot be signalled by what it
starts. What it knows of the right answers stays in its own memory: programs run in processes of their own, which are
told their input and nothing more.

A job is a JSON object: `language`, `program`, `limits`, and any of `tests` (code to run after the program, which passes
when nothing is raised), `cases` ([standard input, standard output]) and `calls` (`name`, and `cases` of arguments and
result). The report is {"results": [{"ok", "reason", "message"}, ...]}, one for every test, case and call until the time
is up, or {"broken": message}.

A job of another kind asks for what is printed: each of its `inputs` ([standard input, arguments]) gets {"ok", "reason",
"message", "output", "seconds"}, until there is more output than a report should hold. When `patience` (1) runs were too
slow, the `cases` or `inputs` after them are not run.
"""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing for it would cost every sandbox its time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

    Command = tuple[str | int, list[str], bool]  # program file or descriptor, arguments, whether memory can be bounded

# Runs a Python program; arguments: what for ("tests", "calls" or "main"). Descriptor 3 holds the payload, 4 takes the
# report, one line for each test or call.
RUNNER = r"""
import builtins, json, os, sys, types
mode = sys.argv[1]
def read(fd):
    parts = []
    while True:
        part = os.read(fd, 1 << 20)
        if not part:
            os.close(fd)
            return b"".join(parts).decode("utf-8", "surrogateescape")
        parts.append(part)
payload = json.loads(read(3))
def report(**line):
    os.write(4, (json.dumps(line) + "\n").encode())
def told(e):
    try:
        return (type(e).__name__ + ": " + str(e))[:300]
    except BaseException:
        return type(e).__name__
builtins.exit = builtins.quit = sys.exit
name = "__main__" if mode == "main" else "__program__"
module = types.ModuleType(name)
sys.modules[name] = module
sys.argv = ["program.py", *sys.argv[2:]]
if sys.argv[1:]:
    import random
    random.seed(sys.argv[1])  # what a generator draws follows from its number
space = module.__dict__
try:
    code = compile(payload["program"], "program.py", "exec", dont_inherit=True)
except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
    report(start="compile_error", message=told(e))
    os._exit(1)
if mode == "main":
    os.close(4)
    exec(code, space)
else:
    try:
        exec(code, space)
    except BaseException as e:
        report(start="runtime_error", message=told(e))
        os._exit(1)
    if mode == "tests":
        for test in payload["tests"]:
            try:
                exec(compile(test, "test.py", "exec", dont_inherit=True), space)
            except AssertionError as e:
                report(ok=False, reason="wrong_answer", message=told(e))
            except BaseException as e:
                report(ok=False, reason="runtime_error", message=told(e))
            else:
                report(ok=True)
    else:
        for arguments in payload["calls"]:
            try:
                name, _, method = payload["name"].partition(".")
                called = getattr(space[name](), method) if method else space[name]
                report(value=called(*arguments))
            except BaseException as e:
                report(ok=False, reason="runtime_error", message=told(e))
    os._exit(0)
"""

PR_SET_DUMPABLE = 4
# Characters of output after which a report gets no more of it.
MOST_PRINTED = 8 << 20


class Ended:
    """How one process ended: `reason` is empty where it ended well."""

    def __init__(
        self, status: int, cpu: float, wall_up: bool, out: bytes, err: bytes, lines: list[dict[str, Any]]
    ) -> None:
        self.out, self.err, self.lines, self.seconds = out, err, lines, cpu
        self.reason, self.message = "", ""
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        last = err.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        if wall_up or killed == signal.SIGXCPU:
            self.reason, self.message = "time_limit", f"{cpu:.1f} s of processor time"
        elif killed == signal.SIGXFSZ:
            self.reason = "output_limit"
        elif killed:
            self.message = last if "bad_alloc" in last else "ended by " + signal.Signals(killed).name
            self.reason = told("runtime_error", self.message)
        elif code:
            self.message = last or f"exit code {code}"
            self.reason = told("runtime_error", self.message)


class Driver:
    """Runs the programs of one job, one after the other."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.limits = job["limits"]
        self.until = time.monotonic() + self.limits["total_seconds"]
        self.runs = 0

    def results(self) -> list[dict[str, Any]]:
        """One result for every test, case and call, fewer when the time is up."""
        language = self.job["language"]
        program = self.job["program"]
        if "inputs" in self.job:
            return self._outputs(program, self.job["inputs"])
        tests, cases, calls = self.job.get("tests") or [], self.job.get("cases") or [], self.job.get("calls")
        found = []
        if tests:
            found += self._python_tests(program, tests) if language == "python" else self._whole_tests(program, tests)
        if calls and calls["cases"] and (not found or found[-1]["reason"] != "time_limit"):
            found += self._python_calls(program, calls)
        if cases and (not found or found[-1]["reason"] != "time_limit"):
            found += self._cases(program, cases)
        return found

    # -- the kinds of work

    def _python_tests(self, program: str, tests: list[str]) -> list[dict[str, Any]]:
        ended = self._python("tests", {"program": program, "tests": tests})
        return self._reported(ended, len(tests), lambda i, line: (line.get("ok") is True, line))

    def _python_calls(self, program: str, calls: dict[str, Any]) -> list[dict[str, Any]]:
        payload = {"program": program, "name": calls["name"], "calls": [c[0] for c in calls["cases"]]}
        ended = self._python("calls", payload)

        def judge(i: int, line: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
            if "value" not in line:
                return False, line
            same = equal(line["value"], calls["cases"][i][1])
            return same, {"reason": "wrong_answer", "message": "returned " + json.dumps(line["value"])[:200]}

        return self._reported(ended, len(calls["cases"]), judge)

    def _whole_tests(self, program: str, tests: list[str]) -> list[dict[str, Any]]:
        """In languages that are not Python a test is code that is put behind the program."""
        found = []
        for test in tests:
            command = self._command(program + "\n" + test)
            ended = command if isinstance(command, Ended) else self._run(command)
            found.append(result(not ended.reason, ended.reason, ended.message))
            if ended.reason == "time_limit":
                break
        return found

    def _cases(self, program: str, cases: list[list[str]]) -> list[dict[str, Any]]:
        found = []
        for i, ended in enumerate(self._each(program, [(given, []) for given, _ in cases])):
            ok, reason, message = False, ended.reason, ended.message
            if not reason:
                out = ended.out.decode("utf-8", "replace")
                ok = same_output(out, cases[i][1])
                reason, message = ("", "") if ok else ("wrong_answer", "printed " + repr(out[:200]))
            found.append(result(ok, reason, message))
        return found

    def _outputs(self, program: str, inputs: list[tuple[str, list[str]]]) -> list[dict[str, Any]]:
        """What the program prints, not judged."""
        found, printed = [], 0
        for ended in self._each(program, inputs):
            out = "" if ended.reason else ended.out.decode("utf-8", "replace")
            found.append(result(not ended.reason, ended.reason, ended.message, output=out, seconds=ended.seconds))
            printed += len(out)
            if printed > MOST_PRINTED:
                break
        return found

    def _each(self, program: str, inputs: list[tuple[str, list[str]]]) -> Iterator[Ended]:
        """Runs the program on each standard input and arguments; not at all where it does not compile."""
        command = self._command(program)
        if isinstance(command, Ended):
            yield command
            return
        file, words, bounded = command
        patience = self.job.get("patience", 1)
        for given, arguments in inputs:
            stdin = given.encode("utf-8", "surrogateescape")
            ended = self._run((file, words + arguments, bounded), stdin, {"program": program})
            if ended.reason and ended.lines and "start" in ended.lines[0]:
                ended.reason, ended.message = str(ended.lines[0]["start"]), str(ended.lines[0].get("message"))
            yield ended
            patience -= ended.reason == "time_limit"
            if patience <= 0 or ended.reason == "compile_error":
                return

    def _reported(
        self, ended: Ended, count: int, judge: Callable[[int, dict[str, Any]], tuple[bool, dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Results from the lines of a runner's report; what it did not come to is not passed."""
        lines = ended.lines
        if lines and "start" in lines[0]:
            message = str(lines[0].get("message"))
            return [result(False, told(str(lines[0]["start"]), message), message)] * count
        found = []
        for i, line in enumerate(lines[:count]):
            ok, said = judge(i, line)
            message = "" if ok else str(said.get("message"))
            found.append(result(ok, "" if ok else told(str(said.get("reason")), message), message))
        if len(found) < count:
            found.append(result(False, ended.reason or "runtime_error", ended.message or "ended before its tests did"))
        return found

    # -- programs

    def _command(self, program: str) -> Command | Ended:
        """How to run a program of the job's language, or how compiling it ended."""
        language = self.job["language"]
        if language == "python":
            return python_command("main")
        if language == "javascript":
            # Its address space is hundreds of times what it uses, so that is not bounded.
            heap = f"--max-old-space-size={self.limits['memory'] >> 20}"
            return "/usr/bin/node", ["node", heap, self._file("main.js", program)], False
        source = self._file("main.cpp", program)
        target = os.path.join(os.path.dirname(source), "main")
        words = ["g++", "-O2", "-std=c++20", "-o", target, source]
        ended = self._run(("/usr/bin/g++", words, True), limits=dict(self.limits, seconds=30, memory=4 << 30))
        if ended.reason:
            said = ended.err.decode("utf-8", "replace")
            first = next((line for line in said.splitlines() if "error" in line), ended.message)
            ended.reason, ended.message = "compile_error", first[:300]
            return ended
        # Held open and without a name: the program cannot put another one in its place.
        binary = os.open(target, os.O_RDONLY)
        os.unlink(target)
        return binary, ["main"], True

    def _file(self, name: str, text: str) -> str:
        self.runs += 1
        folder = f"/tmp/{self.runs}-{os.urandom(6).hex()}"
        os.mkdir(folder)
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        return path

    def _python(self, mode: str, payload: dict[str, Any]) -> Ended:
        return self._run(python_command(mode), payload=payload)

    def _run(
        self,
        command: Command,
        stdin: bytes = b"",
        payload: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
    ) -> Ended:
        """Runs one process and all that it starts, to its end or its limits."""
        limits = limits or self.limits
        self.runs += 1
        folder = f"/tmp/{self.runs}-{os.urandom(6).hex()}"
        os.mkdir(folder)
        text = json.dumps(payload or {}).encode()
        held = [memory_file(stdin), memory_file(), memory_file(), memory_file(text), memory_file()]
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            start(command, held, folder, limits)
        seconds = limits["seconds"]
        status, cpu, wall_up = wait(child, min(began + 3 * seconds, self.until))
        sweep()
        out, err, report = (contents(fd, limits["output"] + 1) for fd in (held[1], held[2], held[4]))
        for fd in held:
            os.close(fd)
        lines = []
        for line in report.decode("utf-8", "replace").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                break
            if not isinstance(value, dict):
                break
            lines.append(value)
        return Ended(status, cpu, wall_up, out, err, lines)


def result(ok: bool, reason: str, message: str, **more: Any) -> dict[str, Any]:
    """One line of the report."""
    return {"ok": bool(ok), "reason": reason, "message": message, **more}


def told(reason: str, message: str) -> str:
    """The reason of a failure, or the limit that is behind it by what it says."""
    if "MemoryError" in message or "bad_alloc" in message or "heap out of memory" in message:
        return "memory_limit"
    return "output_limit" if "[Errno 27]" in message else reason


def python_command(mode: str) -> Command:
    """How a Python program is run: by the runner, in its isolated mode."""
    return sys.executable, ["python3", "-I", "-X", "utf8", "-c", RUNNER, mode], True


def start(command: Command, held: list[int], folder: str, limits: dict[str, Any]) -> NoReturn:
    """In the new process: its limits, its five descriptors, and the program in its place."""
    try:
        program, words, bounded = command
        os.setsid()
        os.chdir(folder)
        seconds = max(1, math.ceil(limits["seconds"]))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits["output"], limits["output"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"], limits["processes"]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        if bounded:
            resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate(held)]
        if isinstance(program, int):
            program = os.dup2(program, 120)
        for i, fd in enumerate(high):
            os.dup2(fd, i)
        os.closerange(5, 120)
        os.closerange(121, 256)
        # The descriptor of a compiled program closes as it starts.
        if isinstance(program, int):
            os.set_inheritable(program, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for number in (signal.SIGXFSZ, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execve(program, words, dict(os.environ))
    except BaseException as e:  # noqa: BLE001  (whatever it is, this process must not go on as a second driver)
        os.write(2, str(e).encode())
    finally:
        os._exit(127)


def memory_file(content: bytes = b"") -> int:
    """A file that has no name, and so cannot be found by other processes."""
    fd = os.memfd_create("data", 0)
    while content:
        content = content[os.write(fd, content) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def contents(fd: int, most: int) -> bytes:
    """At most so many bytes of a file, from its start."""
    return os.pread(fd, most, 0)


def wait(child: int, deadline: float) -> tuple[int, float, bool]:
    """(status, processor seconds, whether the deadline passed) of a child; others that end meanwhile are reaped."""
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return 0, 0.0, False
        if pid == child:
            return status, used.ru_utime + used.ru_stime, False
        if pid:
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            return 0, 0.0, True
        signal.sigtimedwait([signal.SIGCHLD], left)


def sweep() -> None:
    """Ends every other process of the sandbox."""
    while True:
        try:  # noqa: SIM105  (contextlib would be one more import)
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            while os.waitpid(-1, 0)[0]:
                pass
        except OSError as e:
            if e.errno == errno.ECHILD:
                return


def same_output(given: str, wanted: str) -> bool:
    """Whether outputs agree: the same lines but for space at their ends, or the same words, numbers to six digits."""
    left = [line.rstrip() for line in given.rstrip().splitlines()]
    right = [line.rstrip() for line in wanted.rstrip().splitlines()]
    if left == right:
        return True
    left, right = given.split(), wanted.split()
    return len(left) == len(right) and all(a == b or close(a, b) for a, b in zip(left, right, strict=True))


def close(a: str, b: str) -> bool:
    """Whether two words are numbers, the wanted one with a fraction, that agree to six digits."""
    if "." not in b and "e" not in b.lower():
        return False
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-6)


def equal(value: Any, wanted: Any) -> bool:
    """Whether a result, through JSON, is the wanted one; numbers with a fraction to six digits."""
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(equal, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(equal(value[k], wanted[k]) for k in wanted)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, (int, float)) and isinstance(wanted, (int, float)):
        return value == wanted or math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-9)
    return bool(value == wanted)


def undumpable() -> None:
    """Keeps other processes of the same user from tracing this one or reading its memory."""
    import _ctypes

    library = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]  # None is the process itself
    _ctypes.call_cdeclfunction(_ctypes.dlsym(library, "prctl"), (PR_SET_DUMPABLE, 0, 0, 0, 0))


def main() -> None:
    """Runs the job of standard input."""
    undumpable()
    # Process 1 gets no signal from inside that it has no handler for, and Python has one for this.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    job = json.loads(sys.stdin.buffer.read())
    report: dict[str, Any]
    try:
        report = {"results": Driver(job).results()}
    except Exception as e:  # noqa: BLE001  (told to the other side)
        report = {"broken": f"{type(e).__name__}: {e}"}
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
