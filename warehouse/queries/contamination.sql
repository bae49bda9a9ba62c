-- Benchmark items in trajectories: of each benchmark how many trajectories and prompts hold one, and the fullest of them
WITH found AS (
    SELECT v.trajectory_id, t.prompt_id, unnest(from_json(v.details->'$.matches',
        '[{"benchmark": "VARCHAR", "item": "VARCHAR", "share": "DOUBLE", "in": "VARCHAR", "text": "VARCHAR"}]')) AS m
    FROM verdicts_current v JOIN trajectories_current t USING (trajectory_id)
    WHERE v."check" = 'contamination' AND v.outcome = 'fail'
)
SELECT m.benchmark AS benchmark,
    count(DISTINCT trajectory_id) AS trajectories,
    count(DISTINCT prompt_id) FILTER (WHERE m."in" = 'prompt') AS prompts,
    count(DISTINCT m.item) AS items,
    count(DISTINCT trajectory_id) FILTER (WHERE m.share >= 0.5) AS half_or_more,
    max(m.share) AS largest,
    arg_max(m.item || ': ' || left(regexp_replace(m.text, '\s+', ' ', 'g'), 80), (m.share, m.item)) AS example
FROM found
GROUP BY ALL
ORDER BY trajectories DESC, benchmark
