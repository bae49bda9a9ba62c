"""datatrove's quality filters over the documents that `benchmarks/patterns.py --write FILE` wrote.

pip install datatrove nltk spacy        # in an environment of its own
python benchmarks/peers/datatrove_filters.py FILE
"""

import json
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter

texts = [json.loads(line)["text"] for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
print("| filter | MB/s | documents/s | us a document |\n| --- | ---: | ---: | ---: |")
for check in (GopherQualityFilter(), C4QualityFilter()):
    documents = [Document(text=t, id=str(n)) for n, t in enumerate(texts)]
    check.filter(documents.pop())  # loads its tokenizer
    start = time.perf_counter()
    for document in documents:
        check.filter(document)
    each = (time.perf_counter() - start) / len(documents)
    size = sum(len(d.encode()) for d in texts[:-1]) / 1e6
    print(f"| {type(check).__name__} | {size / each / len(documents):.2f} | {1 / each:,.0f} | {each * 1e6:,.0f} |")
