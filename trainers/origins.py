"""Where a snapshot's rows are from: who wrote the replies, which source the prompts have, how often they are solved."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigError
from schemas.manifest import Manifest
from trainers.config import DistillConfig
from warehouse.snapshot import open_snapshot


@dataclass(frozen=True)
class Origin:
    """What the snapshot says of one row."""

    prompt_id: str
    policy: str
    source: str


def origins(warehouse: Path, manifest: Manifest) -> dict[str, Origin]:
    """The origin of each row of a snapshot of samples, by the row's id, `trajectory/attempt`."""
    import pyarrow.parquet as pq

    found = {}
    for path in open_snapshot(warehouse.expanduser(), manifest.id).data_files():
        names = ["trajectory_id", "attempt", "prompt_id", "policy", "source"]
        columns = pq.read_table(path, columns=names).to_pydict()
        for trajectory, attempt, *told in zip(*(columns[name] for name in names), strict=True):
            found[f"{trajectory}/{attempt}"] = Origin(*told)
    return found


def teachers_of(config: DistillConfig, snapshot: str, policies: Iterable[str]) -> dict[str, int]:
    """How many rows each policy wrote, most first. Raises ConfigError for one that the configuration does not admit.

    `policies` has the policy of each row.
    """
    counts = dict(sorted(Counter(policies).items(), key=lambda item: (-item[1], item[0])))
    told = ", ".join(f"{policy} {count:,}" for policy, count in counts.items())
    if config.teachers is None and len(counts) > 1:
        raise ConfigError(
            f"{snapshot} has replies of {len(counts)} policies ({told}): list those that are to teach as `teachers`, "
            "or leave the others out by the mix's `where`"
        )
    others = set(counts) - set(config.teachers or counts)
    if others:
        raise ConfigError(
            f"{snapshot} has replies of {', '.join(sorted(others))}, not listed as `teachers` (rows by policy: "
            f"{told}): list them, or leave them out by the mix's `where`"
        )
    return counts


def solve_rates(warehouse: Path, manifest: Manifest) -> dict[str, float]:
    """The share of right replies, 0.0 to 1.0, by prompt, in the tables as they were when the snapshot was made.

    Of all replies that were sampled or imported, of any policy and stage but `eval`; rewrites of one are no further
    attempt. A reply of which the verifier could not tell counts as not right, a prompt that it decided none of is left
    out. Raises WarehouseError when the snapshot lies in no whole warehouse.
    """
    from warehouse.connect import connect

    with connect(warehouse.expanduser(), at=manifest.id, only=("trajectory_facts",)) as connection:
        rows = connection.execute(
            """
            SELECT prompt_id, count(*) FILTER (WHERE correct) / count(*)
            FROM trajectory_facts
            WHERE error IS NULL AND stage <> 'eval' AND parent_id IS NULL
            GROUP BY prompt_id
            HAVING count(correct) > 0"""
        ).fetchall()
    return dict(rows)
