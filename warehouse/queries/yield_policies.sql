-- Of the replies that a judge was asked about, how many each policy would take: judge, rule, rule re-parsed, either, both
-- `rule` is right in the required form, `rule_reparsed` right in any form of answer; either and both are of the latter.
WITH judged AS (
    SELECT trajectory_id, "check" AS judge, outcome = 'pass' AS said FROM verdicts_current WHERE kind = 'judge'
)
SELECT f.stage, j.judge, count(*) AS replies,
    count(*) FILTER (WHERE j.said) AS judge_alone,
    count(*) FILTER (WHERE f.correct AND NOT list_contains(f.not_passed, 'format')) AS rule,
    count(*) FILTER (WHERE f.correct) AS rule_reparsed,
    count(*) FILTER (WHERE f.correct OR j.said) AS rule_or_judge,
    count(*) FILTER (WHERE f.correct AND j.said) AS rule_and_judge
FROM judged j JOIN trajectory_facts f USING (trajectory_id)
GROUP BY ALL
ORDER BY ALL
