"""Progress of long work as plain lines on standard error."""

import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Counts what was started and finished and prints a line every few seconds, and one at the end.

    `total` is None where it is not known beforehand.
    """

    def __init__(self, label: str, total: int | None, *, every: float = 10.0, out: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._every = every
        self._out = out or sys.stderr
        self._begun = self._printed = time.monotonic()
        self._in_flight = self._done = self._tokens = self._failed = 0

    def started(self) -> None:
        """One more request is on its way."""
        self._in_flight += 1

    def finished(self, tokens: int = 0, error: str | None = None) -> None:
        """One request came back with that many tokens, or failed."""
        self._in_flight -= 1
        self._done += 1
        self._tokens += tokens
        self._failed += error is not None
        if time.monotonic() - self._printed >= self._every:
            self._print()

    def advance(self, count: int) -> None:
        """That many items of work without requests are done."""
        self._done += count
        if time.monotonic() - self._printed >= self._every:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self._printed = now
        seconds = max(now - self._begun, 1e-6)
        of = "" if self._total is None else f"/{self._total:,}"
        parts = [f"{self._label:<14} {self._done:,}{of}"]
        if self._in_flight:
            parts.append(f"{self._in_flight} in flight")
        if self._tokens:
            parts.append(f"{self._tokens / seconds:,.0f} tokens/s")
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self._total is not None and 0 < self._done < self._total:
            parts.append(f"eta {_duration(seconds * (self._total - self._done) / self._done)}")
        else:
            parts.append(f"{_duration(seconds)}")
        print("  ".join(parts), file=self._out, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._done:
            self._print()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
