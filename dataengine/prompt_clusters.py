"""Prompts that ask the same in nearly the same words, in clusters: no mix should have a cluster in two splits."""

from collections.abc import Iterator

import numpy as np

from dataengine.checks import versioned
from dataengine.filters.minhash import NUMBERS, U32, U64, hashes, normal, signatures
from dataengine.filters.near import components
from schemas.records import Cluster, now
from warehouse.connect import connect
from warehouse.store import Warehouse

THRESHOLD = 0.8
_RULES = "1"
_BATCH = 4096


def cluster_prompts(warehouse: Warehouse, threshold: float = THRESHOLD) -> int:
    """Writes the cluster of every prompt that is new or whose cluster changed, and returns how many rows those were.

    Two prompts belong together when a chain of prompts connects them, each similar to the next: the Jaccard similarity
    of their runs of five words, estimated, is `threshold` or more. Of a conversation all turns but a system message
    count. A cluster is called by its smallest id; further prompts may join clusters, and divide none.
    """
    ids: list[str] = []
    made: list[U32] = [np.empty((0, NUMBERS), np.uint32)]
    text: list[U64] = [np.empty(0, np.uint64)]
    for batch in _prompts(warehouse):
        texts = [normal(asked) for _, asked in batch]
        ids += [ident for ident, _ in batch]
        made.append(signatures(texts)[0])
        text.append(hashes(texts))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    # Equal texts are compared once: the first of them, by id.
    _, first, inverse = np.unique(np.concatenate(text)[order], return_index=True, return_inverse=True)
    compared = np.sort(first)
    unique = np.concatenate(made)[order][compared]
    cluster = dict(
        zip(compared, compared[components(unique, threshold, np.zeros(len(unique), np.uint64))], strict=True)
    )
    version = versioned(_RULES, {} if threshold == THRESHOLD else {"threshold": threshold})
    written = 0
    for start in range(0, len(ids), _BATCH):
        rows = [
            Cluster(
                kind="prompt",
                id=ids[order[rank]],
                cluster_id=ids[order[cluster[first[inverse[rank]]]]],
                version=version,
                created_at=now(),
            )
            for rank in range(start, min(start + _BATCH, len(ids)))
        ]
        written += len(warehouse.append("clusters", rows).added)
    return written


def _prompts(warehouse: Warehouse) -> Iterator[list[tuple[str, str]]]:
    """(id, text) of all prompts; one that two sources have comes twice."""
    with connect(warehouse.path, only=["prompts"]) as connection:
        cursor = connection.execute(
            "SELECT prompt_id, array_to_string([m.content FOR m IN messages IF m.role <> 'system'], chr(10)) "
            "FROM prompts WHERE revision = 1"
        )
        while batch := cursor.fetchmany(_BATCH):
            yield batch
