"""The checks `pii` and `refusal` on public sets: how fast, and how many texts each flags.

    python benchmarks/personal_data.py DATA

DATA holds the public sets (public_sets.py). They are not labelled: what is flagged has to be read. One process.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

from public_sets import SETS, row, texts_of

from dataengine.checks import Check, Sample, load_check
from dataengine.prompting import take_apart

BATCH = 512


def flagged(check: Check, samples: list[Sample]) -> tuple[int, Counter[str], float]:
    """How many fail, of which kinds (or languages), and the seconds that took."""
    begun = time.perf_counter()
    opinions = [o for at in range(0, len(samples), BATCH) for o in check(samples[at : at + BATCH])]
    spent = time.perf_counter() - begun
    failed = [o for o in opinions if o.outcome == "fail"]
    return len(failed), Counter(k for o in failed for k in o.details.get("found", [o.details.get("language")])), spent


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    data = options.parse_args().data
    pii, refusal = load_check("pii"), load_check("refusal")
    row("set", "texts", "MB", "`pii`, MB/s", "flagged", "kinds", "`refusal`, us a text", "refusals")
    row("---", "---:", "---:", "---:", "---:", "---", "---:", "---:")
    total: Counter[str] = Counter()
    for name in SETS:
        samples = [Sample(text=t, answer=take_apart(t).answer) for t in texts_of(data, name)]
        size = sum(len(s.text.encode(errors="replace")) for s in samples) / 1e6
        found, kinds, seconds = flagged(pii, samples)
        refused, _, other = flagged(refusal, samples)
        total.update(texts=len(samples), found=found, refused=refused)
        row(name, f"{len(samples):,}", f"{size:.1f}", f"{size / seconds:,.0f}", found,
            ", ".join(f"{k} {n}" for k, n in kinds.most_common()), f"{1e6 * other / len(samples):.0f}",
            refused)  # fmt: skip
    row("all", f"{total['texts']:,}", "", "", total["found"], "", "", total["refused"])


if __name__ == "__main__":
    main()
