"""Hostile programs in real sandboxes: what they can reach, what they can use, and that neighbours never notice."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataengine.verify import sandbox as module
from dataengine.verify.sandbox import Limits, Sandbox, SandboxProblem

why = module.problem()
pytestmark = pytest.mark.skipif(why is not None, reason=f"no program can be run here: {why}")

LIMITS = Limits(seconds=1.0, total_seconds=10.0, memory=400 << 20, processes=16, output=1 << 20, files=8 << 20)
# A test below is code that must raise nothing: it tries to get out and asserts that it did not.
ESCAPES = {
    "files of the system's users": """
import os
for path in ("/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/proc/self/environ", "/sys", "/run"):
    assert not os.path.exists(path), path
assert set(os.listdir("/")) <= {"usr", "lib", "lib32", "lib64", "bin", "dev", "tmp", "etc"}
""",
    "writing anywhere but in its own folder": """
import os
for path in ("/x", "/usr/x", "/usr/bin/python3", "/dev/x", "/dev/shm/x", "/etc/x", "/lib/x"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise AssertionError(path)
open("here", "w").write("fine")
open("/tmp/there", "w").write("fine")
""",
    "links to the outside": """
import os
os.symlink("/etc/passwd", "link")
assert not os.path.exists("link")
os.symlink("../../../../etc/passwd", "other")
assert not os.path.exists("other")
""",
    "the network": """
import socket
tcp, unix = socket.AF_INET, socket.AF_UNIX
for family, address in ((tcp, ("127.0.0.1", PORT)), (tcp, ("8.8.8.8", 53)), (unix, "\\0NAME")):
    s = socket.socket(family)
    s.settimeout(0.5)
    try:
        s.connect(address)
    except OSError:
        continue
    raise AssertionError(address)
""",
    "other processes": """
import os, signal
assert os.getppid() == 1
for pid in range(2, 3000):
    if pid != os.getpid():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        raise AssertionError(pid)
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):
    os.kill(1, number)
try:
    os.kill(-1, signal.SIGKILL)
except ProcessLookupError:
    pass
""",
    "its parent's memory": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.ptrace(16, 1, 0, 0) == -1
buffer = ctypes.create_string_buffer(8)
assert libc.process_vm_readv(1, buffer, 0, buffer, 0, 0) in (-1, 0)
""",
    "rights": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert os.getuid() == os.geteuid() != 0 or not os.access("/usr/bin", os.W_OK)
root = lambda: os.setuid(0) if os.getuid() else 1 / 0
for call in (root, lambda: os.chroot("/tmp"), lambda: os.mknod("d", 0o20666, 5)):
    try:
        call()
    except (OSError, ZeroDivisionError):
        continue
    raise AssertionError(call)
assert libc.unshare(0x10000000) == -1, "a user namespace"
assert libc.unshare(0x00020000) == -1, "a mount namespace"
assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == -1
assert libc.umount2(b"/usr", 2) == -1
assert libc.reboot(0) == -1
""",
    "the environment": """
import os
assert set(os.environ) <= {"PATH", "HOME", "LANG", "PYTHONHASHSEED", "PWD", "LC_CTYPE"}, dict(os.environ)
assert os.uname().nodename == "sandbox"
""",
    "the clock": """
import time
try:
    time.clock_settime(time.CLOCK_REALTIME, 0)
except OSError:
    pass
else:
    raise AssertionError
assert time.time() > 1.7e9
""",
    "descriptors of others": """
import os, stat
for fd in range(3, 256):
    try:
        os.fstat(fd)
    except OSError:
        continue
    assert fd == 4, fd  # the report
""",
}


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[int, str]]:
    """A server of the host's on a port and on an abstract name."""
    name = f"sandbox-test-{os.getpid()}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(f"\0{name}")
        unix.listen()
        yield tcp.getsockname()[1], name


def job(program: str, *tests: str, language: str = "python", **more: Any) -> dict[str, Any]:
    return {"language": language, "program": program, "tests": list(tests), **more}


def reasons(found: list[dict[str, Any]]) -> list[str]:
    return ["ok" if r["ok"] else r["reason"] for r in found]


@pytest.mark.parametrize("what", ESCAPES)
def test_a_program_reaches_nothing(what: str, listener: tuple[int, str]) -> None:
    test = ESCAPES[what].replace("PORT", str(listener[0])).replace("NAME", listener[1])
    assert Sandbox(LIMITS).run(job("", test)) == [{"ok": True, "reason": "", "message": ""}]


def test_an_ordinary_user_is_kept_in_as_well(listener: tuple[int, str], tmp_path: Path) -> None:
    """The same programs, started by somebody who is not root, with the system's Python and nothing of this project."""
    for name in ("sandbox.py", "driver.py"):
        shutil.copy(Path(module.__file__).with_name(name), tmp_path / name)
    tests = [t.replace("PORT", str(listener[0])).replace("NAME", listener[1]) for t in ESCAPES.values()]
    (tmp_path / "jobs.json").write_text(json.dumps([job("", t) for t in tests]))
    (tmp_path / "main.py").write_text(
        "import json, sys, os\nsys.path.insert(0, '.')\nfrom sandbox import Limits, Sandbox\n"
        f"limits = Limits(**{LIMITS.__dict__!r})\n"
        "print(json.dumps([os.geteuid(), [Sandbox(limits).run(j) for j in json.load(open('jobs.json'))]]))\n"
    )
    become = ["setpriv", "--reuid=61100", "--regid=61100", "--clear-groups"] if os.geteuid() == 0 else []
    for folder in (tmp_path, *tmp_path.parents):
        if become and folder != Path(folder.anchor) and folder.owner() == "root":
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [*become, module.PYTHON, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    user, found = json.loads(done.stdout)
    assert user != 0
    assert dict(zip(ESCAPES, found, strict=True)) == {
        what: [{"ok": True, "reason": "", "message": ""}] for what in ESCAPES
    }


FORKS = """
import os, time
for i in range(12):
    if os.fork() == 0:
        x = bytearray(90 << 20)
        for at in range(0, len(x), 4096):
            x[at] = 1
        while True: pass
time.sleep(60)
"""
BOMBS = {
    "while True: pass": "time_limit",
    "import time; time.sleep(1000)": "time_limit",
    "x = bytearray(1 << 40)": "memory_limit",
    "x = []\nwhile True: x.append(bytearray(1 << 20))": "memory_limit",
    "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass": "time_limit",
    FORKS: "memory_limit",
    "while True: print('x' * 1000)": "output_limit",
    "f = open('big', 'wb')\nwhile True: f.write(b'x' * 100000)": "output_limit",
    "n = 0\nwhile True:\n    open(f'f{n}', 'wb').write(b'x' * 500000); n += 1": "runtime_error",
    "import os; os._exit(0)": "runtime_error",
    "import sys; sys.exit(0)": "runtime_error",
    "raise KeyboardInterrupt": "runtime_error",
    "import os; os.close(4)": "runtime_error",
    "import os; os.kill(os.getpid(), 9)": "runtime_error",
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass": "time_limit",
    "def f(): return f()\nf()": "runtime_error",
    "import ctypes; ctypes.string_at(0)": "runtime_error",
    "x = (": "compile_error",
    "x = '\x00'": "compile_error",
    "(" * 5000: "compile_error",
}


@pytest.mark.slow
def test_bombs_cost_their_own_limit_and_no_neighbour_notices() -> None:
    neighbours: list[list[dict[str, Any]]] = []
    ended = threading.Event()

    def neighbour() -> None:
        while not ended.is_set():
            neighbours.append(Sandbox(LIMITS).run(job("def f(x): return x + 1", "assert f(1) == 2")))

    box = Sandbox(LIMITS)
    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda program: box.run(job(program, "pass")), BOMBS))
    finally:
        ended.set()
        thread.join()
    assert {p: reasons(f) for p, f in zip(BOMBS, found, strict=True)} == {p: [r] for p, r in BOMBS.items()}
    assert len(neighbours) > 20
    assert all(reasons(n) == ["ok"] for n in neighbours)


def test_what_a_test_leaves_running_ends_with_it() -> None:
    program = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n"
        "    os._exit(0)"
    )
    began = time.monotonic()
    assert reasons(Sandbox(LIMITS).run(job(program, "pass"))) == ["ok"]
    assert time.monotonic() - began < LIMITS.total_seconds / 2


def test_a_program_does_not_see_the_answers() -> None:
    secret = "8271634"
    program = f"""
import os, sys
found = []
for fd in range(0, 256):
    try:
        found += [fd] if b"{secret[:3]}" b"{secret[3:]}" in os.pread(fd, 1 << 20, 0) else []
    except OSError:
        pass
runner = sys._getframe(1).f_globals
seen = any("{secret[:3]}" + "{secret[3:]}" in str(v.get("calls")) for v in runner.values() if type(v) is dict)
def f(x):
    return "seen" if found or seen else "not seen"
if __name__ == "__main__":
    print(f(0))
"""
    found = Sandbox(LIMITS).run(
        {
            "language": "python",
            "program": program,
            "cases": [["", secret]],
            "calls": {"name": "f", "cases": [[[0], secret]]},
        }
    )
    assert [r["message"] for r in found] == ['returned "not seen"', "printed 'not seen\\n'"]


def test_outputs_agree_by_lines_or_by_words_and_digits() -> None:
    program = "print(input())"
    cases = [
        ["1 2  ", "1 2\n"],
        ["0.3333333", "0.33333334"],
        ["1.5", "1.6"],
        ["3", "3.0"],
        ["a  b", "a b"],
        ["abc", "abd"],
    ]
    found = Sandbox(LIMITS).run({"language": "python", "program": program, "cases": cases})
    assert reasons(found) == ["ok", "ok", "wrong_answer", "ok", "ok", "wrong_answer"]


@pytest.mark.slow
def test_what_a_program_prints_can_be_asked_for() -> None:
    program = "import sys, random\nprint(sys.stdin.read(), sys.argv[1:], random.random() if sys.argv[1:] else '')"
    box = Sandbox(LIMITS)
    inputs = [["a", []], ["b", ["7", "x"]], ["b", ["7", "x"]], ["b", ["8", "x"]]]
    found = box.run({"language": "python", "program": program, "inputs": inputs})
    assert [r["ok"] for r in found] == [True] * 4
    plain, first, same, other = (r["output"] for r in found)
    assert plain == "a [] \n"
    assert first.startswith("b ['7', 'x'] 0.")
    assert first == same != other
    failing = "import sys\nprint('lost')\nif input() == '1': print(1 / 0)\nwhile input: pass"
    found = box.run({"language": "python", "program": failing, "inputs": [[n, []] for n in "12121"], "patience": 2})
    assert reasons(found) == ["runtime_error", "time_limit", "runtime_error", "time_limit"]
    assert {r["output"] for r in found} == {""}
    assert all(r["seconds"] > 0 for r in found)


def test_a_report_holds_no_more_output_than_it_should() -> None:
    inputs = [[str(n), []] for n in range(12)]
    program = "n = input()\nprint(n * 1000_000)"
    found = Sandbox(LIMITS).run({"language": "python", "program": program, "inputs": inputs})
    assert [r["output"][:1] for r in found] == list("012345678")


def test_a_sandbox_that_takes_too_much_as_a_whole_says_so() -> None:
    (found,) = Sandbox(LIMITS).run({"language": "python", "program": FORKS, "inputs": [["", []], ["", []]]})
    assert (found["reason"], found["whole"]) == ("memory_limit", True)


def test_calls_compare_results_as_json_has_them() -> None:
    calls = {
        "name": "f",
        "cases": [[[[1, 2]], [2, 4]], [[[1]], [3]], [["x"], ["x", "x"]], [[None], None], [[0.1], [0.2]]],
    }
    program = (
        "def f(x):\n    if x is None: raise ValueError('none')\n"
        "    return tuple(i * 2 for i in (x if isinstance(x, list) else [x]))"
    )
    found = Sandbox(LIMITS).run({"language": "python", "program": program, "calls": calls})
    assert reasons(found) == ["ok", "wrong_answer", "wrong_answer", "runtime_error", "ok"]
    assert found[3]["message"] == "ValueError: none"
    method = "class Solution:\n    def g(self, x): return x"
    assert reasons(
        Sandbox(LIMITS).run(
            {"language": "python", "program": method, "calls": {"name": "Solution.g", "cases": [[[1], 1]]}}
        )
    ) == ["ok"]


@pytest.mark.skipif(not os.access("/usr/bin/g++", os.X_OK), reason="there is no g++")
def test_programs_in_cpp_are_compiled_once_and_run() -> None:
    program = (
        "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; "
        "if (a == 7) while (true); std::cout << a + b; }"
    )
    cases = [["1 2", "3"], ["2 2", "5"], ["7 1", "8"]]
    found = Sandbox(LIMITS).run({"language": "cpp", "program": program, "cases": cases})
    assert reasons(found) == ["ok", "wrong_answer", "time_limit"]
    broken = Sandbox(LIMITS).run({"language": "cpp", "program": "int main() { return x; }", "cases": cases})
    assert reasons(broken) == ["compile_error"]
    assert "was not declared" in broken[0]["message"]
    whole = [
        "#include <cassert>\nint main() { assert(f(2) == 4); }",
        "#include <cassert>\nint main() { assert(f(2) == 5); }",
    ]
    assert reasons(Sandbox(LIMITS).run(job("int f(int x) { return 2 * x; }", *whole, language="cpp"))) == [
        "ok",
        "runtime_error",
    ]


@pytest.mark.skipif(not os.access("/usr/bin/node", os.X_OK), reason="there is no node")
def test_programs_in_javascript_run() -> None:
    program = "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b)"
    cases = [["1 2", "3"], ["2 2", "5"]]
    assert reasons(Sandbox(LIMITS).run({"language": "javascript", "program": program, "cases": cases})) == [
        "ok",
        "wrong_answer",
    ]
    found = Sandbox(LIMITS).run(
        job(
            "const f = x => 2 * x",
            "require('assert')(f(2) == 4)",
            "require('assert')(f(2) == 5)",
            language="javascript",
        )
    )
    assert reasons(found) == ["ok", "runtime_error"]


def test_a_sandbox_killed_from_outside_is_a_problem_and_no_verdict() -> None:
    box = Sandbox(LIMITS)
    caught: list[SandboxProblem] = []

    def run() -> None:
        try:
            box.run(job("import time; time.sleep(30)", "pass"))
        except SandboxProblem as e:
            caught.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        words = ["pgrep", "-P", str(os.getpid()), "-f", "bwrap"]
        children = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
        if children:
            os.kill(int(children[0]), signal.SIGKILL)
            break
        time.sleep(0.01)
    thread.join()
    assert len(caught) == 1
    assert caught[0].again


def test_a_sandbox_that_is_stopped_ends_at_once_and_starts_no_more() -> None:
    stop = threading.Event()
    box = Sandbox(replace(LIMITS, seconds=20, total_seconds=60), stop)
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(SandboxProblem, match="stopped"):
        box.run(job("import time; time.sleep(1000)", "pass"))
    assert time.monotonic() - began < LIMITS.total_seconds
    with pytest.raises(SandboxProblem, match="stopped"):
        box.run(job("", "pass"))
    timer.join()


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxProblem, match="apt-get install bubblewrap"):
        Sandbox(LIMITS).run(job("", "pass"))
    assert module.problem() is not None
