"""Progress of long work on standard error: one line that changes in a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Counts what was started and finished and prints a line every few seconds (half a second in a terminal).

    `total` is None where it is not known beforehand.
    """

    def __init__(self, label: str, total: int | None, *, every: float = 10.0, out: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._every = 0.5 if self._terminal else every
        self._begun = self._printed = time.monotonic()
        self._in_flight = self._done = self._tokens = 0
        self._errors: dict[str, int] = {}
        self._yield: dict[str, list[int]] = {}

    def started(self) -> None:
        """One more request is on its way."""
        self._in_flight += 1

    def finished(self, tokens: int = 0, error: str | None = None) -> None:
        """One request came back with that many tokens, or failed."""
        self._in_flight -= 1
        self._done += 1
        self._tokens += tokens
        if error is not None:
            kind = error.partition(":")[0]
            self._errors[kind] = self._errors.get(kind, 0) + 1
        if time.monotonic() - self._printed >= self._every:
            self._print()

    def judged(self, domain: str, kept: bool) -> None:
        """A reply to a prompt of that domain was checked."""
        counts = self._yield.setdefault(domain, [0, 0])
        counts[0] += kept
        counts[1] += 1

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
        if self._yield:
            parts.append("kept " + ", ".join(f"{d} {k / n:.0%} of {n:,}" for d, (k, n) in sorted(self._yield.items())))
        if self._errors:
            parts.append("failed " + ", ".join(f"{n:,} {kind}" for kind, n in sorted(self._errors.items())))
        if self._total is not None and 0 < self._done < self._total:
            # Those on their way are half done, on average; the first to end are the short ones.
            done = self._done + self._in_flight / 2
            parts.append(f"eta {_duration(seconds * (self._total - done) / done)}")
        else:
            parts.append(f"{_duration(seconds)}")
        line = "  ".join(parts)
        if self._terminal:
            # Over the line before; cut, or a long one would leave its start behind.
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._done:
            self._print()
            if self._terminal:
                print(file=self._out, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
