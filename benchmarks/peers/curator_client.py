"""bespokelabs-curator against a local server: python curator_client.py URL REQUESTS; prints the seconds it took.

Run by benchmarks/client.py with the interpreter of an environment that has bespokelabs-curator.
"""

import importlib.util
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
        return [{"role": "user", "content": row["question"]}]

    def parse(self, row, response):
        return [{"question": row["question"], "reply": response}]


def main() -> None:
    url, requests = sys.argv[1], int(sys.argv[2])
    rows = Dataset.from_list([{"question": f"What is {i} + 7?"} for i in range(requests)])
    llm = Asked(
        model_name="m",
        backend="openai",
        backend_params={
            "base_url": url,
            "max_concurrent_requests": 256,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
        },
    )
    started = time.perf_counter()
    found = llm(rows)
    seconds = time.perf_counter() - started
    rows = getattr(found, "dataset", found)
    assert len(rows) == requests
    print(seconds)


if __name__ == "__main__":
    main()
