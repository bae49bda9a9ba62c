-- Each cold-start sample and what was made of it, to the last rewrite: what each step did, which checks passed, what is kept
WITH RECURSIVE linked AS (
    SELECT trajectory_id, parent_id, stage, {'at': created_at, 'id': trajectory_id} AS place FROM trajectories_current
), parents AS (
    SELECT DISTINCT parent_id AS trajectory_id FROM linked WHERE parent_id IS NOT NULL
), chain AS (
    SELECT trajectory_id, trajectory_id AS root, 0 AS step, [place] AS places
    FROM linked
    WHERE parent_id IS NULL AND (stage = 'cold_start' OR trajectory_id IN (FROM parents))
    UNION ALL
    SELECT t.trajectory_id, c.root, c.step + 1, list_append(c.places, t.place)
    FROM linked t JOIN chain c ON t.parent_id = c.trajectory_id
), cold AS (
    SELECT DISTINCT root FROM chain JOIN linked USING (trajectory_id) WHERE stage = 'cold_start'
), passed AS (
    SELECT trajectory_id, string_agg("check", ' ' ORDER BY "check") AS passed
    FROM verdicts_current SEMI JOIN chain USING (trajectory_id)
    WHERE outcome = 'pass'
    GROUP BY trajectory_id
)
SELECT left(c.root, 12) AS chain, c.step,
    CASE WHEN f.parent_id IS NULL THEN 'sample' ELSE coalesce('rewrite ' || f.rewrite, 'edit') END AS did,
    CASE WHEN f.parent_id IS NOT NULL AND f.error IS NULL THEN concat_ws(' and ',
        CASE WHEN f.reasoning IS DISTINCT FROM p.reasoning THEN 'reasoning' END,
        CASE WHEN f.answer IS DISTINCT FROM p.answer THEN 'summary' END) END AS changed,
    v.passed, coalesce(f.error, array_to_string(f.not_passed, ' ')) AS not_passed, f.kept,
    c.trajectory_id NOT IN (FROM parents) AS "last",
    f.stage, f.policy, left(c.trajectory_id, 12) AS trajectory, left(f.parent_id, 12) AS parent
FROM chain c
JOIN cold USING (root)
JOIN trajectory_facts f USING (trajectory_id)
LEFT JOIN trajectories_current p ON p.trajectory_id = f.parent_id
LEFT JOIN passed v ON v.trajectory_id = c.trajectory_id
ORDER BY c.places
