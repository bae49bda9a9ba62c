"""datatrove's filters: python datatrove_filters.py TEXTS ITEMS MODEL; prints the seconds of each as JSON.

TEXTS and ITEMS hold lines {"text": ...}: what is filtered, and the benchmark items it must not hold. MODEL is the file
of fastText's language model. Run by the benchmarks with the interpreter of an environment that has datatrove,
fasttext-numpy2-wheel, fasteners, nltk and spacy. One process; nothing but the filters themselves is timed, with the
defaults of its makers, but for the n-grams: ten words, as in the check that they are compared with.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import (
    C4QualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.utils.text import ngrams, simplify_text
from fasttext.FastText import _FastText
from loguru import logger


def documents(texts):
    return [Document(text=text, id=str(number)) for number, text in enumerate(texts)]


def language(model):
    found = LanguageFilter("en")
    found.model._model = _FastText(model)
    return found


def decontamination(folder, items):
    found = NGramsDecontFilter(folder, NGramsDecontConfig(n_grams=10))
    found._index_hashes = {}
    for item in items:
        words = found.tokenizer.word_tokenize(simplify_text(item, found.config.norm_config))
        found._index_hashes.update((found.hash_func(" ".join(gram)), "item") for gram in ngrams(words, 10))
    return found


def deduplicated(texts, folder):
    config = MinhashConfig()
    MinhashDedupSignature(f"{folder}/signatures", config).run(iter(documents(texts)))
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config).run(
            rank=bucket, world_size=config.num_buckets
        )
    MinhashDedupCluster(f"{folder}/buckets", f"{folder}/removed", config=config).run()
    return sum(1 for _ in MinhashDedupFilter(f"{folder}/removed").run(iter(documents(texts))))


def main() -> None:
    logger.remove()
    texts, items = (
        [json.loads(line)["text"] for line in Path(file).read_text(encoding="utf-8").splitlines()]
        for file in sys.argv[1:3]
    )
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            "language": [language(sys.argv[3])],
            "repetition": [GopherRepetitionFilter()],
            "quality": [GopherQualityFilter(), C4QualityFilter()],
            "personal data": [PIIFormatter()],
            "decontamination": [decontamination(folder, items)],
        }
        for name, filters in steps.items():
            for each in filters:
                sum(1 for _ in each.run(iter(documents(["A first text, so that models are loaded."]))))
            begun = time.perf_counter()
            for each in filters:
                # Of each text, also where an earlier filter would have dropped it: ours drop nothing.
                sum(1 for _ in each.run(iter(documents(texts))))
            seconds[name] = time.perf_counter() - begun
        begun = time.perf_counter()
        deduplicated(texts, folder)
        seconds["near duplicates"] = time.perf_counter() - begun
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
