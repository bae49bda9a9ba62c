-- Why trajectories were not kept: check, outcome and reason, most frequent first
SELECT t.stage, v."check", v.outcome, v.reason, count(*) AS trajectories
FROM verdicts_current v JOIN trajectories_current t USING (trajectory_id)
WHERE v.outcome <> 'pass'
GROUP BY ALL
ORDER BY t.stage, trajectories DESC
