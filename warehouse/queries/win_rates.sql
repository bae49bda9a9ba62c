-- Evaluations by a judge of pairs: how often the policy's answer beats the baseline's, ties as half, and how far both orders agree
WITH placed AS (
    SELECT *, max(turn) OVER (PARTITION BY recipe, step, source) > 1 AS several FROM pairwise
), parts AS (
    SELECT * EXCLUDE (several),
        unnest(['(all)', source] || CASE WHEN several THEN [source || ', turn ' || turn] ELSE [] END) AS part
    FROM placed
), questions AS (
    -- All samples and turns of a question together.
    SELECT recipe, step, "check", version, policy, baseline, part, question_id,
        avg(won ORDER BY pair_id) AS won,
        count(*) AS pairs,
        count(*) FILTER (WHERE won = 1) AS wins,
        count(*) FILTER (WHERE won = 0.5) AS ties,
        count(*) FILTER (WHERE won = 0) AS losses,
        count(*) FILTER (WHERE won IS NULL AND drawn = draws) AS undecided,
        count(*) FILTER (WHERE drawn < draws) AS missing,
        count(*) FILTER (WHERE no_answer) AS no_answer,
        count(*) FILTER (WHERE consistent) AS consistent,
        count(consistent) AS in_both_orders
    FROM parts
    GROUP BY ALL
)
SELECT recipe, step, "check", version, policy, baseline, part,
    count(won) AS questions,
    round(avg(won ORDER BY question_id), 4) AS win_rate,
    sum(pairs)::BIGINT AS pairs, sum(wins)::BIGINT AS wins, sum(ties)::BIGINT AS ties, sum(losses)::BIGINT AS losses,
    sum(undecided)::BIGINT AS undecided, sum(missing)::BIGINT AS missing, sum(no_answer)::BIGINT AS no_answer,
    round(sum(consistent) / nullif(sum(in_both_orders), 0), 4) AS consistency
FROM questions
GROUP BY ALL
ORDER BY ALL
