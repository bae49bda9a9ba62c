"""data-juicer's word_repetition_filter: python data_juicer_repetition.py FILE; prints seconds and drops, as JSON.

FILE holds one JSON string a line. Run by benchmarks/repetition.py with the interpreter of an environment that has
py-data-juicer, aiohttp and ray; set PIP_NO_INDEX=1 and UV_OFFLINE=1, or importing it may install more by itself.
"""

import json
import sys
import time
from pathlib import Path

from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
from data_juicer.utils.constant import Fields


def main() -> None:
    with Path(sys.argv[1]).open() as lines:
        texts = [json.loads(line) for line in lines]
    rule = WordRepetitionFilter()
    rule.compute_stats_batched({"text": ["A first call."], Fields.stats: [{}]})
    start = time.perf_counter()
    kept = list(rule.process_batched(rule.compute_stats_batched({"text": texts, Fields.stats: [{} for _ in texts]})))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "dropped": [not k for k in kept]}))


if __name__ == "__main__":
    main()
