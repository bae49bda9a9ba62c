-- How many replies each policy would take, per stage and judge: judge, rule, rule re-parsed, rule or judge, rule and judge
-- `rule` is right in the required form (the check `format` has not failed), `rule_reparsed` right in any form of answer;
-- either and both are of the latter. A judge that was asked about a part of the replies takes nothing of the rest: the pool
-- `judged` counts that part alone.
WITH replies AS (
    SELECT stage, trajectory_id, coalesce(correct, false) AS reparsed,
        reparsed AND NOT coalesce(list_contains(not_passed, 'format'), false) AS strict
    FROM trajectory_facts
    WHERE error IS NULL
), judged AS (
    SELECT trajectory_id, "check" AS judge, outcome = 'pass' AS passed FROM verdicts_current WHERE kind = 'judge'
), judges AS (
    SELECT DISTINCT stage, judge FROM judged JOIN replies USING (trajectory_id)
), pools AS (
    SELECT r.*, s.judge, j.trajectory_id IS NOT NULL AS asked,
        CASE WHEN s.judge IS NOT NULL THEN coalesce(j.passed, false) END AS passed
    FROM replies r
    LEFT JOIN judges s USING (stage)
    LEFT JOIN judged j ON j.trajectory_id = r.trajectory_id AND j.judge = s.judge
)
SELECT stage, judge, pool, count(*) AS replies,
    CASE WHEN judge IS NOT NULL THEN count(*) FILTER (WHERE passed) END AS judge_alone,
    count(*) FILTER (WHERE strict) AS rule,
    count(*) FILTER (WHERE reparsed) AS rule_reparsed,
    CASE WHEN judge IS NOT NULL THEN count(*) FILTER (WHERE reparsed OR passed) END AS rule_or_judge,
    CASE WHEN judge IS NOT NULL THEN count(*) FILTER (WHERE reparsed AND passed) END AS rule_and_judge
FROM (
    SELECT *, 'all' AS pool FROM pools
    UNION ALL
    SELECT *, 'judged' AS pool FROM pools WHERE asked
)
GROUP BY stage, judge, pool
ORDER BY stage, judge, pool
