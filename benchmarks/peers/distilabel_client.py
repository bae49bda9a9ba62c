"""distilabel against a server: python distilabel_client.py URL MODEL FILE SAMPLES MAX_TOKENS; prints the seconds.

FILE holds lines {"prompt": ...}. Run by the benchmarks with the interpreter of an environment that has distilabel.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HOME"] = tempfile.mkdtemp()

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

# A batch is asked for at once, and the next waits for it.
AT_ONCE = 256


def main() -> None:
    url, model, file = sys.argv[1:4]
    samples, max_tokens = map(int, sys.argv[4:6])
    with Path(file).open() as lines:
        rows = [{"instruction": json.loads(line)["prompt"]} for line in lines]
    with Pipeline(cache_dir=tempfile.mkdtemp()) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=AT_ONCE)
        ask = TextGeneration(
            llm=OpenAILLM(
                model=model,
                base_url=url,
                api_key="none",
                timeout=3600,
                generation_kwargs={"max_new_tokens": max_tokens, "temperature": 0.8, "top_p": 0.95},
            ),
            num_generations=samples,
            group_generations=True,
            input_batch_size=AT_ONCE,
        )
        load >> ask
    started = time.perf_counter()
    found = pipeline.run(use_cache=False)
    seconds = time.perf_counter() - started
    replies = [reply for row in found["default"]["train"] for reply in row["generation"]]
    assert len(replies) == samples * len(rows) and None not in replies, len(replies)
    print(seconds)


if __name__ == "__main__":
    main()
