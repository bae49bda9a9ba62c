-- Pairs of answers by judge (or `rule`) and by who wrote them: how many are kept, who wins, what stands first, and lengths
WITH drawn AS (
    SELECT pair_id, "check", version,
        count(*) FILTER (WHERE score <> 0) AS told,
        count(*) FILTER (WHERE (score > 0) = a_first AND score <> 0) AS first_told
    FROM pair_verdicts
    GROUP BY ALL
)
SELECT "check", a.policy AS a, b.policy AS b,
    count(*) AS pairs,
    count(*) FILTER (WHERE kept) AS kept,
    count(*) FILTER (WHERE balanced) AS balanced,
    round(avg((score > 0)::INT) FILTER (WHERE kept), 3) AS a_wins,
    round(sum(first_told) / sum(told), 3) AS first_wins,
    round(avg(chosen_length) FILTER (WHERE kept), 1) AS chosen_characters,
    round(avg(rejected_length) FILTER (WHERE kept), 1) AS rejected_characters,
    round(avg(chosen_length) FILTER (WHERE balanced), 1) AS balanced_chosen_characters,
    round(avg(rejected_length) FILTER (WHERE balanced), 1) AS balanced_rejected_characters
FROM preferences p
JOIN trajectories_current a ON a.trajectory_id = p.a_id
JOIN trajectories_current b ON b.trajectory_id = p.b_id
LEFT JOIN drawn USING (pair_id, "check", version)
GROUP BY ALL
ORDER BY ALL
