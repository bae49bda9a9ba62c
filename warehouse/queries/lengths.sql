-- Length of replies in tokens: quantiles of right and other replies, and how many were cut
SELECT stage, policy, correct, count(*) AS replies,
    round(quantile_cont(completion_tokens, 0.5)) AS median,
    round(quantile_cont(completion_tokens, 0.9)) AS p90,
    max(completion_tokens) AS longest,
    count(*) FILTER (WHERE finish_reason = 'length') AS truncated
FROM trajectory_facts
WHERE error IS NULL
GROUP BY ALL
ORDER BY ALL
