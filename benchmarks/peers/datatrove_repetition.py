"""datatrove's GopherRepetitionFilter: python datatrove_repetition.py FILE; prints seconds and drops, as JSON.

FILE holds one JSON string a line. Run by benchmarks/repetition.py with the interpreter of an environment that has
datatrove and spacy (its words of English).
"""

import json
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import GopherRepetitionFilter


def main() -> None:
    with Path(sys.argv[1]).open() as lines:
        documents = [Document(text=json.loads(line), id="") for line in lines]
    rule = GopherRepetitionFilter()
    rule.filter(Document(text="Its tokenizer is loaded.", id=""))
    start = time.perf_counter()
    found = [rule.filter(document) for document in documents]
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "dropped": [f is not True for f in found]}))


if __name__ == "__main__":
    main()
