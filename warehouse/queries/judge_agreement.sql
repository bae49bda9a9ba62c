-- How far each judge agrees with the rule and with people, on replies that both decided: counts, agreement, Cohen's kappa
-- A judge of scope `unsettled` has not seen what the rule passed: its figures beside the rule then say little. Calibration
-- (`dataengine judge calibrate`) is on known verdicts; this is not.
WITH known AS (
    SELECT trajectory_id, 'rule' AS beside, correct AS other FROM trajectory_facts WHERE correct IS NOT NULL
    UNION ALL
    SELECT trajectory_id, 'human', outcome = 'pass' FROM verdicts_current
    WHERE "check" = 'human' AND outcome IN ('pass', 'fail')
), compared AS (
    SELECT t.stage, v."check" AS judge, v.version, beside, other,
        CASE v.outcome WHEN 'pass' THEN true WHEN 'fail' THEN false END AS judge_passes
    FROM verdicts_current v
    JOIN trajectories_current t USING (trajectory_id)
    JOIN known USING (trajectory_id)
    WHERE v.kind = 'judge'
), counted AS (
    SELECT stage, judge, version, beside,
        count(judge_passes) AS n,
        count(*) FILTER (WHERE judge_passes AND other) AS both_pass,
        count(*) FILTER (WHERE judge_passes AND NOT other) AS judge_alone,
        count(*) FILTER (WHERE NOT judge_passes AND other) AS other_alone,
        count(*) FILTER (WHERE NOT judge_passes AND NOT other) AS both_fail,
        count(*) FILTER (WHERE judge_passes IS NULL) AS judge_undecided
    FROM compared
    GROUP BY ALL
)
SELECT *, round((both_pass + both_fail) / nullif(n, 0), 4) AS agreement,
    round(2 * (both_pass * both_fail - judge_alone * other_alone) / nullif(
        (both_pass + judge_alone) * (judge_alone + both_fail) + (both_pass + other_alone) * (other_alone + both_fail), 0
    ), 4) AS kappa
FROM counted
ORDER BY stage, judge, version, beside
