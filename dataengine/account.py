"""What a run asked for and what that cost, by stage or judge and policy, and for each sample that is kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.recipe import Price
from warehouse.connect import connect
from warehouse.views import names_in

# Every attempt of the run is paid for, the failed and the truncated ones too, but not what was imported; kept are those
# of them that are current.
_SPENT = """
SELECT t.stage, t.policy,
    count(*) AS requests,
    count(*) FILTER (WHERE t.error IS NOT NULL) AS failed,
    coalesce(sum(t.prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(t.completion_tokens), 0)::BIGINT AS reply_tokens,
    count(*) FILTER (WHERE f.kept) AS kept,
    epoch(max(t.created_at) - min(t.created_at)) + max(t.seconds) AS seconds
FROM trajectories t
LEFT JOIN trajectory_facts f ON f.trajectory_id = t.trajectory_id AND f.attempt = t.attempt
WHERE t.run_id = ? AND t.engine <> 'import'
GROUP BY t.stage, t.policy
ORDER BY min(t.created_at)
"""

# What judges said stands in their verdicts; a request that failed left none.
_JUDGED = """
SELECT "check", vote.policy,
    count(*) AS requests,
    NULL AS failed,
    coalesce(sum(vote.prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(vote.completion_tokens), 0)::BIGINT AS reply_tokens,
    NULL AS kept,
    epoch(max(created_at) - min(created_at)) + max(vote.seconds) AS seconds
FROM (
    SELECT "check", created_at, unnest(from_json(details -> 'votes', '[{"policy": "VARCHAR", "prompt_tokens": "BIGINT",
        "completion_tokens": "BIGINT", "seconds": "DOUBLE"}]')) AS vote
    FROM (
        SELECT "check", created_at, details FROM verdicts WHERE kind = 'judge' AND run_id = $run_id
        UNION ALL
        SELECT "check", created_at, details FROM pair_verdicts WHERE run_id = $run_id
    )
)
GROUP BY "check", vote.policy
ORDER BY min(created_at)
"""


def account(path: Path, run_id: str, prices: Mapping[str, Price]) -> list[dict[str, Any]]:
    """A row per stage or judge and policy of a run; `usd` and `usd_per_kept` where the policy has a price."""
    with connect(path, only=names_in(_SPENT + _JUDGED)) as connection:
        spent = (
            connection.execute(_SPENT, [run_id]).fetchall() + connection.execute(_JUDGED, {"run_id": run_id}).fetchall()
        )
    rows = []
    for stage, policy, requests, failed, prompt_tokens, reply_tokens, kept, seconds in spent:
        row = {
            "stage": stage,
            "policy": policy,
            "requests": requests,
            "failed": failed,
            "prompt_tokens": prompt_tokens,
            "reply_tokens": reply_tokens,
            "kept": kept,
            "tokens_per_kept": round(reply_tokens / kept) if kept else None,
        }
        if prices:
            price = prices.get(policy)
            usd = price.of(prompt_tokens, reply_tokens, seconds or 0.0) if price else None
            row |= {"usd": usd, "usd_per_kept": usd / kept if usd is not None and kept else None}
        rows.append(row)
    return rows
