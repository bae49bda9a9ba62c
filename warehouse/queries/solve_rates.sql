-- By stage and source: prompts that no, some or every sample solved
SELECT stage, policy, source,
    count(*) FILTER (WHERE correct = 0) AS solved_none,
    count(*) FILTER (WHERE correct BETWEEN 1 AND replies - 1) AS solved_some,
    count(*) FILTER (WHERE correct = replies AND replies > 0) AS solved_all
FROM yield_by_prompt
GROUP BY ALL
ORDER BY ALL
