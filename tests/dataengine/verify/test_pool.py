"""One item that hangs, crashes or is killed costs only its own answer."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dataengine.verify.pool import Pool

# Workers import by name, and these are importable wherever the tests run.
SLEEP = time.sleep


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, deadline=1.0) as made:
        yield made


def workers() -> list[psutil.Process]:
    server = psutil.Process().children()
    return [w for s in server for w in s.children() if w.status() != psutil.STATUS_ZOMBIE]


def test_answers_come_in_order(pool: Pool) -> None:
    assert [a.value for a in pool.map(abs, [-1, 2, -3])] == [1, 2, 3]


@pytest.mark.timeout(60)
def test_a_hanging_item_times_out_and_its_neighbours_do_not(pool: Pool) -> None:
    answers = pool.map(SLEEP, [0, 600, 0, 600, 0])
    assert [a.failure for a in answers] == [None, "timeout", None, "timeout", None]


def test_an_exception_is_named(pool: Pool) -> None:
    (answer,) = pool.map(int, ["x"])
    assert answer.failure == "raised"
    assert answer.message.startswith("ValueError")


def test_exit_inside_an_item_does_not_end_the_caller(pool: Pool) -> None:
    (answer,) = pool.map(sys.exit, [3])
    assert answer.failure == "raised"


def test_a_crashing_item_is_tried_twice_and_is_then_a_crash(pool: Pool) -> None:
    answers = pool.map(os._exit, [7])
    assert [a.failure for a in answers] == ["crash"]
    assert [a.value for a in pool.map(abs, [-1])] == [1]


def test_memory_is_bounded(pool: Pool) -> None:
    (answer,) = pool.map(bytes, [3 << 30])
    assert answer.failure == "raised"
    assert "MemoryError" in answer.message


def test_workers_write_no_files_and_start_no_programs(pool: Pool, tmp_path: Path) -> None:
    target = str(tmp_path / "written")
    results = pool.map(eval, [f"open({target!r}, 'w')", "__import__('os').system('true')"])
    assert [a.message.partition(":")[0] for a in results] == ["PermissionError", "PermissionError"]
    assert not Path(target).exists()


def test_a_worker_killed_from_outside_costs_nothing(pool: Pool) -> None:
    pool.map(abs, [1])
    victims = workers()

    def kill() -> None:
        time.sleep(0.2)
        for victim in victims:
            victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    answers = pool.map(SLEEP, [0.5, 0.5])
    killer.join()
    assert [a.failure for a in answers] == [None, None]


def test_idle_workers_killed_from_outside_cost_nothing(pool: Pool) -> None:
    pool.map(abs, [1])
    for victim in workers():
        victim.send_signal(signal.SIGKILL)
    time.sleep(0.5)
    assert [a.value for a in pool.map(abs, [-1, -2])] == [1, 2]


def test_threads_and_asyncio_share_a_pool(pool: Pool) -> None:
    found: list[int | None] = []

    def ask() -> None:
        found.extend(a.value for a in pool.map(abs, [-5]))

    thread = threading.Thread(target=ask)
    thread.start()

    async def main() -> None:
        answers = await asyncio.gather(asyncio.to_thread(pool.map, abs, [-6]), asyncio.to_thread(pool.map, abs, [-7]))
        found.extend(a.value for part in answers for a in part)
        found.extend(a.value for a in pool.map(abs, [-8]))

    asyncio.run(main())
    thread.join()
    assert sorted(v for v in found if v is not None) == [5, 6, 7, 8]


def test_close_ends_the_workers_and_a_later_call_starts_them_anew() -> None:
    before = {w.pid for w in workers()}
    pool = Pool(workers=1, deadline=5)
    pool.map(abs, [1])
    mine = [w for w in workers() if w.pid not in before]
    assert len(mine) == 1
    pool.close()
    pool.close()
    psutil.wait_procs(mine, timeout=3)
    assert not [w for w in mine if w.is_running() and w.status() != psutil.STATUS_ZOMBIE]
    assert [a.value for a in pool.map(abs, [-1])] == [1]
    pool.close()


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"deadline": 0.0}, {"deadline": float("nan")}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Pool(**wrong)  # type: ignore[arg-type]


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from dataengine.verify.pool import Pool
        print("started", flush=True)
        with Pool(workers=2) as pool:
            print([a.value for a in pool.map(abs, [-1, -2])])
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n[1, 2]\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_workers_of_a_stopped_program_end_without_a_word(stop: signal.Signals) -> None:
    program = textwrap.dedent("""
        import time, sys
        from dataengine.verify.pool import Pool
        if __name__ == "__main__":
            pool = Pool(workers=2, deadline=2)
            pool.map(abs, [1, 2])
            print("ready", flush=True)
            try:
                pool.map(time.sleep, [1.9] * 20)
            except KeyboardInterrupt:
                pool.close()
    """)
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    time.sleep(0.3)
    family = psutil.Process(running.pid).children(recursive=True)
    assert len(family) >= 3
    if stop == signal.SIGINT:
        os.killpg(running.pid, stop)  # as Ctrl-C does: the whole group
    else:
        running.kill()
    _, errors = running.communicate(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=12)
    assert not alive
    assert "Traceback" not in errors
