-- What other thresholds would cost: per check and score the replies that would be lost or gained, all else as it is
WITH scored AS (
    SELECT stage, "check", outcome, score, kept, kept_if_passed FROM scored_verdicts
), directions AS (
    -- Scores of what passed lie above or below those of what failed; a check with one outcome is asked both ways.
    SELECT "check", unnest(CASE
        WHEN avg(score) FILTER (WHERE outcome = 'pass') > avg(score) FILTER (WHERE outcome = 'fail') THEN ['at_least']
        WHEN avg(score) FILTER (WHERE outcome = 'pass') < avg(score) FILTER (WHERE outcome = 'fail') THEN ['at_most']
        ELSE ['at_least', 'at_most'] END) AS threshold
    FROM scored
    GROUP BY "check"
    HAVING count(DISTINCT score) > 2
), counted AS (
    SELECT stage, "check", score, count(*) AS replies, count(*) FILTER (WHERE kept) AS kept,
        count(*) FILTER (WHERE kept_if_passed AND NOT kept) AS kept_out
    FROM scored
    GROUP BY ALL
), grid AS (
    -- Deciles of the different scores: most replies may have the best one.
    SELECT DISTINCT stage, "check", unnest(quantile_disc(score, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])) AS x
    FROM counted
    GROUP BY stage, "check"
)
SELECT stage, "check", threshold, x,
    round(sum(replies) FILTER (WHERE passes) / sum(replies), 4) AS pass_share,
    coalesce(sum(kept) FILTER (WHERE NOT passes), 0)::BIGINT AS lost,
    coalesce(sum(kept_out) FILTER (WHERE passes), 0)::BIGINT AS gained
FROM (
    SELECT *, CASE threshold WHEN 'at_least' THEN score >= x ELSE score <= x END AS passes
    FROM counted JOIN directions USING ("check") JOIN grid USING (stage, "check")
)
GROUP BY ALL
ORDER BY stage, "check", threshold, x
