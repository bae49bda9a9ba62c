"""The real command in a process of its own, killed or refused at a chosen change of the file system: see fault.c."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Faults:
    """Runs `dataengine` in `folder`, under the library of fault.c, which minds what is changed beneath it.

    With one thread: into how many parts DuckDB cuts a few rows is a race of its threads, and each part means
    more changes. Even so a command may make one write more or less than it did before.
    """

    library: Path
    folder: Path

    def run(self, *args: object, fault: str = "", at: int = 0) -> "subprocess.CompletedProcess[str]":
        """One command; with `fault` it is killed (`kill`) or out of space (`full`) at its change number `at`."""
        self._log.unlink(missing_ok=True)
        told = {
            "LD_PRELOAD": str(self.library),
            "FAULT_FOLDER": str(self.folder),
            "FAULT_LOG": str(self._log),
            "DATAENGINE_THREADS": "1",
        }
        if fault:
            told |= {"FAULT": fault, "FAULT_AT": str(at)}
        return subprocess.run(
            [sys.executable, "-m", "dataengine.cli", *map(str, args)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={**os.environ, **told},
        )

    @property
    def made(self) -> list[str]:
        """What the last command changed: `pwrite /out/train-00000-of-00001.parquet` and so on."""
        return self._log.read_text().splitlines()

    @property
    def _log(self) -> Path:
        return self.folder.parent / "changes"

    def changes(self, *args: object) -> list[str]:
        """What a command changes, undisturbed."""
        done = self.run(*args)
        assert done.returncode == 0, done
        return self.made


def build(folder: Path) -> Path:
    """Compiles the library into a folder; skips the test where that cannot be done."""
    if sys.platform != "linux":
        pytest.skip("changes of the file system are counted on Linux alone")
    library = folder / "fault.so"
    source = Path(__file__).with_name("fault.c")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"], check=True)
    except FileNotFoundError:
        pytest.skip("there is no C compiler")
    return library


def spread(changes: Sequence[str], points: int) -> list[int]:
    """Numbers of so many changes: evenly over all, with the first and the last; of one point, the middle."""
    last = len(changes) - 1
    return sorted({1 + round(i * last / (points - 1)) for i in range(points)}) if points > 1 else [1 + last // 2]
