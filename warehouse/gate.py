"""The gate: a mix may go by a judge that has shown, on known verdicts, that it agrees with them."""

import duckdb

from schemas.mix import MixSource

# Of every judge that the source goes by, each version whose verdicts it would take.
_JUDGES = """
SELECT DISTINCT v."check", v.version
FROM verdicts_current v
JOIN trajectories_current t USING (trajectory_id)
WHERE v.kind = 'judge' AND t.stage = $stage AND list_contains($checks::VARCHAR[], v."check")
ORDER BY ALL
"""
# The latest word on each set of known verdicts; of those the one that speaks most for the judge. What the rule says is
# not known to be right: agreement with it is told, but opens nothing.
_CALIBRATION = """
SELECT gold, kappa, low, high, n FROM calibrations
WHERE judge = $judge AND version = $version AND gold <> 'rule'
QUALIFY row_number() OVER (PARTITION BY gold ORDER BY created_at DESC) = 1
ORDER BY isnan(low), low DESC, gold
LIMIT 1
"""


def refusal(connection: duckdb.DuckDBPyConnection, source: MixSource) -> str | None:
    """Why a mix may not go by a judge of the source, with the figures; None where it may.

    Held against `min_kappa` is the low end of the interval of Cohen's kappa, of exactly the version whose verdicts are
    taken: a judge whose prompt, model or decoding changed is another judge.
    """
    asked = connection.execute(_JUDGES, {"stage": source.stage, "checks": source.checks}).fetchall()
    if source.judge is not None and source.judge not in {judge for judge, _ in asked}:
        return f"{source.judge} has judged nothing of {source.stage}: add a judge step for it to the recipe and run it"
    for judge, version in asked:
        found = connection.execute(_CALIBRATION, {"judge": judge, "version": version}).fetchone()
        wanted = f"the mix asks for kappa {source.min_kappa:.2f}"
        if found is None:
            return (
                f"judge {judge}@{version} was never held against known verdicts, {wanted}: "
                f"`dataengine judge calibrate {judge} --on FILE`"
            )
        gold, kappa, low, high, n = found
        if not low >= source.min_kappa:  # an interval that is not a number opens nothing
            return (
                f"judge {judge}@{version} agrees with {gold} at kappa {kappa:.2f} (95% CI {low:.2f} to {high:.2f}, "
                f"n {n:,}), {wanted} at the low end: calibrate another, or use policy: rule"
            )
    return None
