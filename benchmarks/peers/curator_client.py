"""bespokelabs-curator against a server: python curator_client.py URL MODEL FILE SAMPLES MAX_TOKENS; prints the seconds.

FILE holds lines {"prompt": ...}. Run by the benchmarks with the interpreter of an environment that has
bespokelabs-curator. It asks for one reply a row, so a prompt with several samples stands in several rows.
"""

import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(TELEMETRY_ENABLED="0", CURATOR_DISABLE_CACHE="0", CURATOR_VIEWER="0", OPENAI_API_KEY="none")
os.environ["CURATOR_CACHE_DIR"] = tempfile.mkdtemp()

# tiktoken's table comes with litellm; without it curator looks for it on the network.
_TABLES = Path(importlib.util.find_spec("litellm").submodule_search_locations[0]).rglob("9b5ad71b2ce5*")
os.environ["TIKTOKEN_CACHE_DIR"] = str(next(_TABLES).parent)

from bespokelabs import curator  # noqa: E402
from datasets import Dataset  # noqa: E402


class Asked(curator.LLM):
    def prompt(self, row):
        return [{"role": "user", "content": row["prompt"]}]

    def parse(self, row, response):
        return [{"prompt": row["prompt"], "sample": row["sample"], "reply": response}]


def main() -> None:
    url, model, file = sys.argv[1:4]
    samples, max_tokens = map(int, sys.argv[4:6])
    with Path(file).open() as lines:
        asked = [json.loads(line)["prompt"] for line in lines]
    rows = Dataset.from_list([{"prompt": p, "sample": i} for p in asked for i in range(samples)])
    llm = Asked(
        model_name=model,
        backend="openai",
        generation_params={"max_tokens": max_tokens, "temperature": 0.8, "top_p": 0.95},
        backend_params={
            "base_url": url,
            "max_concurrent_requests": 256,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
            "request_timeout": 3600,
            # By default it asks for a reply that was cut off ten times over, and then keeps none.
            "invalid_finish_reasons": ["content_filter"],
        },
    )
    started = time.perf_counter()
    found = llm(rows)
    seconds = time.perf_counter() - started
    assert len(getattr(found, "dataset", found)) == len(rows)
    print(seconds)


if __name__ == "__main__":
    main()
