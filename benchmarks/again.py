"""Measures again what a page reports, and writes the figures into it.

    python benchmarks/again.py PAGE.md ... [NAME=VALUE ...]

A page holds blocks

    <!-- measured by: python benchmarks/curation.py DATA --datatrove DATATROVE -->
    what the command printed
    <!-- end -->

Each command is run anew, with the words in capitals replaced by the values given (DATA=/path/of/the/public/sets), and
what it prints takes the place of what stood there. A command whose values are not all given is named and left alone,
one that fails leaves its block as it was.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"(<!-- measured by: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
NAME = re.compile(r"[A-Z]{3,}")


def measured(command: str, values: dict[str, str]) -> str | None:
    """What the command prints, without blank lines around it; None where it cannot be run or fails."""
    words = [values.get(word, word) for word in shlex.split(command)]
    if missing := [word for word in words if NAME.fullmatch(word)]:
        print(f"left alone: {command}  ({', '.join(f'{m}=...' for m in missing)} is not given)", file=sys.stderr)
        return None
    print(f"measuring: {command}", file=sys.stderr)
    done = subprocess.run([sys.executable, *words[1:]], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"failed with {done.returncode}: {command}", file=sys.stderr)
        return None
    return done.stdout.strip("\n")


def remade(page: str, values: dict[str, str]) -> tuple[str, int]:
    """The page with its blocks measured anew, and how many of them were left as they stood."""
    left = 0

    def anew(block: re.Match[str]) -> str:
        nonlocal left
        printed = measured(block[2], values)
        left += printed is None
        return block[0] if printed is None else f"{block[1]}\n{printed}\n\n{block[3]}"

    return BLOCK.sub(anew, page), left


def main() -> int:
    given = [word for word in sys.argv[1:] if "=" in word]
    values = dict(word.split("=", 1) for word in given)
    pages = [Path(word) for word in sys.argv[1:] if word not in given]
    if not pages:
        print(__doc__, file=sys.stderr)
        return 2
    left = 0
    for page in pages:
        text, missed = remade(page.read_text(encoding="utf-8"), values)
        page.write_text(text, encoding="utf-8")
        left += missed
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
