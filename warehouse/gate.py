"""The gate before whatever trusts a judge: only one that was proven on known verdicts may decide."""

import duckdb

from schemas.errors import JudgeNotCalibrated
from schemas.mix import LabelMix, LabelSource, Mix, MixSource, PairMix, PairSource

# The judge's versions whose verdicts the source would look at, with the best that a calibration vouches for.
_PROVEN = """
WITH said AS ({said})
SELECT v.version, first({{'kappa': c.kappa, 'low': c.low, 'high': c.high, 'n': c.n, 'gold': c.gold}}
    ORDER BY c.low DESC NULLS LAST) AS best
FROM (SELECT DISTINCT version FROM said) v
LEFT JOIN calibrations c ON c.judge = $judge AND c.version = v.version
GROUP BY v.version
ORDER BY v.version
"""
_OF_REPLIES = """
    SELECT version FROM verdicts_current SEMI JOIN
        (SELECT trajectory_id FROM trajectories_current WHERE $stage IS NULL OR stage = $stage) USING (trajectory_id)
    WHERE "check" = $judge"""
_OF_PAIRS = """
    SELECT version FROM preferences SEMI JOIN
        (SELECT trajectory_id AS a_id FROM trajectories_current WHERE $stage IS NULL OR stage = $stage) USING (a_id)
    WHERE "check" = $judge"""

_Source = MixSource | PairSource | LabelSource


def refuse_unproven_judges(connection: duckdb.DuckDBPyConnection, mix: Mix | PairMix | LabelMix) -> None:
    """Raises JudgeNotCalibrated, with the figures, for a judge of the mix that is not calibrated, or too weak.

    Its version counts: another prompt, model or decoding is another judge.
    """
    for source in mix.sources:
        if reason := unproven(connection, source):
            raise JudgeNotCalibrated(f"mix {mix.mix}: {reason}")


def unproven(connection: duckdb.DuckDBPyConnection, source: _Source) -> str | None:
    """Why a source may not go by a judge that it names, or None where it may."""
    found = connection.execute("SELECT DISTINCT \"check\" FROM verdicts WHERE kind = 'judge'").fetchall()
    judges = {row[0] for row in found}
    asked = [(check, _OF_REPLIES) for check in source.checks if check in judges]
    if isinstance(source, PairSource):
        asked += [(source.judge, _OF_PAIRS)] if source.judge else []
    elif source.judge is not None and source.judge not in judges:
        asks, others = ("judge", "check") if isinstance(source, LabelSource) else ("policy", "require")
        return f"its {asks} asks {source.judge!r}, which is no judge; `{others}` is for other checks"
    for judge, said in asked:
        sql = _PROVEN.format(said=said)
        for version, best in connection.execute(sql, {"stage": source.stage, "judge": judge}).fetchall():
            if problem := _problem(source.min_kappa, judge, best):
                return f"the judge {judge!r} (version {version}) {problem}"
    return None


def unproven_version(connection: duckdb.DuckDBPyConnection, judge: str, version: str, min_kappa: float) -> str | None:
    """Why that version of a judge may not be gone by, or None where it may; whether it has said anything or not."""
    sql = _PROVEN.format(said="SELECT $version AS version")
    ((_, best),) = connection.execute(sql, {"judge": judge, "version": version}).fetchall()
    problem = _problem(min_kappa, judge, best)
    return problem and f"the judge {judge!r} (version {version}) {problem}"


def _problem(min_kappa: float, judge: str, best: dict[str, object] | None) -> str | None:
    if best is None or best["gold"] is None:
        return (
            f"is not calibrated: `dataengine judge calibrate {judge} --recipe RECIPE --on FILE` asks it about cases "
            "whose verdict is known, and its word may then decide"
        )
    if best["low"] is None:
        return f"has no kappa on {best['gold']}: one side said one thing only"
    if float(str(best["low"])) < min_kappa:
        return (
            f"is too weak: kappa {best['kappa']:.2f} ({best['low']:.2f} to {best['high']:.2f}) on {best['n']} cases of "
            f"{best['gold']}, and the low end has to be {min_kappa:g} or more (`min_kappa`)"
        )
    return None
