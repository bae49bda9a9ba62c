-- The shapes people ask for. The braces in trajectory_facts are replaced by a pair of columns per check with verdicts.

-- One row per prompt. A prompt that two sources give different references counts as having none until a row of the
-- source 'resolution' chooses one: `conflict` says so.
CREATE VIEW prompts_current AS
WITH latest AS (
    SELECT * FROM prompts
    QUALIFY row_number() OVER (PARTITION BY prompt_id, source ORDER BY revision DESC) = 1
), judged AS (
    SELECT *,
        count(DISTINCT reference) OVER (PARTITION BY prompt_id) AS opinions,
        bool_or(source = 'resolution') OVER (PARTITION BY prompt_id) AS resolved
    FROM latest
    QUALIFY row_number() OVER (
        PARTITION BY prompt_id
        ORDER BY source = 'resolution' DESC, reference IS NULL, created_at, source
    ) = 1
)
SELECT prompt_id, revision, domain, source, source_ref, language, messages,
    CASE WHEN opinions > 1 AND NOT resolved THEN NULL ELSE reference END AS reference,
    verifier,
    CASE WHEN opinions > 1 AND NOT resolved THEN 'conflict' ELSE against END AS against,
    opinions > 1 AND NOT resolved AS conflict,
    license, metadata, created_at
FROM judged;

-- The best attempt of each trajectory: complete before truncated before failed, then the latest.
CREATE VIEW trajectories_current AS
SELECT * FROM trajectories
QUALIFY row_number() OVER (
    PARTITION BY trajectory_id
    ORDER BY error IS NOT NULL, coalesce(finish_reason = 'length', false), attempt DESC
) = 1;

-- The verdict of each check on the current attempt, by its latest version and against the current reference.
CREATE VIEW verdicts_current AS
SELECT v.*
FROM verdicts v
JOIN trajectories_current t ON t.trajectory_id = v.trajectory_id AND t.attempt = v.attempt
JOIN prompts_current p ON p.prompt_id = t.prompt_id
WHERE v.against IN ('', p.against)
QUALIFY row_number() OVER (PARTITION BY v.trajectory_id, v."check" ORDER BY v.created_at DESC, v.version DESC) = 1;

-- The cluster of each prompt and each reply that has one; one that is near no other has its own.
CREATE VIEW clusters_current AS
SELECT kind, id, arg_max(cluster_id, (created_at, cluster_id)) AS cluster_id
FROM clusters
GROUP BY kind, id
UNION ALL
SELECT 'response' AS kind, trajectory_id AS id, coalesce(details ->> 'representative', trajectory_id) AS cluster_id
FROM verdicts_current
WHERE "check" = 'duplicate' AND outcome IN ('pass', 'fail');

CREATE VIEW runs_current AS
SELECT run_id, recipe, config, checks, versions,
    arg_max(event, created_at) AS state,
    arg_max(counts, created_at) AS counts,
    min(created_at) AS started_at,
    max(created_at) FILTER (WHERE event <> 'started') AS ended_at
FROM runs
GROUP BY ALL;

-- One wide row per trajectory, its verdicts beside it. `correct` is the verifier's word in any form of answer,
-- `kept` says that the verifier, if there is one, passed and that no other check failed: what a check cannot tell
-- (`undecided`) is no reason against a reply.
CREATE VIEW trajectory_facts AS
WITH pivoted AS (
    SELECT trajectory_id,
        {outcomes}
        arg_max(outcome, created_at) FILTER (WHERE kind = 'verifier') AS verifier_outcome,
        count(*) AS checks,
        count(*) FILTER (WHERE outcome IN ('fail', 'error')) AS against,
        coalesce(list("check" ORDER BY "check") FILTER (WHERE outcome <> 'pass'), []) AS not_passed
    FROM verdicts_current
    GROUP BY trajectory_id
)
SELECT t.trajectory_id, t.attempt, t.prompt_id, t.stage, t.policy, t.engine, t.sample_index, t.parent_id, t.run_id,
    p.domain, p.source, p.source_ref, p.language, p.messages, p.reference, p.verifier, p.license,
    t.reasoning, t.answer, t.text, t.finish_reason, t.prompt_tokens, t.completion_tokens, t.max_tokens,
    t.logprob_sum, t.seconds, t.error, t.step, t.created_at,
    CASE f.verifier_outcome WHEN 'pass' THEN true WHEN 'fail' THEN false END AS correct,
    t.error IS NULL AND f.checks IS NOT NULL AND f.against = 0
        AND coalesce(f.verifier_outcome = 'pass', true) AS kept,
    f.* EXCLUDE (trajectory_id, against)
FROM trajectories_current t
JOIN prompts_current p USING (prompt_id)
LEFT JOIN pivoted f USING (trajectory_id);

-- Which checks a recipe asks for at a stage, by its latest run.
CREATE VIEW recipe_checks AS
SELECT recipe, c.stage, c."check", c.version, c.verifier
FROM (
    SELECT recipe, unnest(from_json(checks,
        '[{"stage": "VARCHAR", "check": "VARCHAR", "version": "VARCHAR", "verifier": "BOOLEAN"}]')) AS c
    FROM runs
    QUALIFY dense_rank() OVER (PARTITION BY recipe ORDER BY created_at DESC) = 1
);

-- Every verdict that there is or should be: outcome NULL means that it is still to come.
CREATE VIEW expected_verdicts AS
WITH current AS (
    SELECT t.trajectory_id, t.attempt, t.stage, t.run_id, t.error, p.against, p.verifier
    FROM trajectories_current t JOIN prompts_current p USING (prompt_id)
), asked AS (
    -- Two steps of a stage may ask for one check with different settings; a verdict by either will do.
    SELECT recipe, stage, "check", list(version) AS versions, bool_or(verifier) AS verifier
    FROM recipe_checks GROUP BY ALL
), wanted AS (
    SELECT t.trajectory_id, t.stage, c."check", c.versions
    FROM current t
    JOIN runs_current r USING (run_id)
    JOIN asked c ON c.recipe = r.recipe AND c.stage = t.stage
    WHERE t.error IS NULL AND (NOT c.verifier OR c."check" = t.verifier)
), given AS (
    SELECT t.trajectory_id, t.stage, v."check", v.version, v.outcome, v.created_at
    FROM verdicts v JOIN current t ON t.trajectory_id = v.trajectory_id AND t.attempt = v.attempt
    WHERE v.against IN ('', t.against)
)
SELECT stage, trajectory_id, "check",
    arg_max(outcome, (created_at, version)) FILTER (WHERE coalesce(list_contains(versions, version), true)) AS outcome
FROM wanted FULL JOIN given USING (trajectory_id, stage, "check")
GROUP BY stage, trajectory_id, "check";

-- Per stage and check: applicable = pass + fail + undecided + error + pending (the conservation line).
CREATE VIEW funnel AS
WITH stages AS (
    SELECT stage, count(*) AS requests, count(DISTINCT prompt_id) AS prompts,
        count(*) FILTER (WHERE error IS NULL) AS replies,
        count(*) FILTER (WHERE error IS NOT NULL) AS failed,
        count(*) FILTER (WHERE error IS NULL AND finish_reason = 'length') AS truncated
    FROM trajectories_current GROUP BY stage
), kept AS (
    SELECT stage, count(*) FILTER (WHERE f.kept) AS kept FROM trajectory_facts f GROUP BY stage
)
SELECT * FROM (
    SELECT e.stage, e."check", count(*) AS applicable,
        count(*) FILTER (WHERE outcome = 'pass') AS pass,
        count(*) FILTER (WHERE outcome = 'fail') AS fail,
        count(*) FILTER (WHERE outcome = 'undecided') AS undecided,
        count(*) FILTER (WHERE outcome = 'error') AS error,
        count(*) FILTER (WHERE outcome IS NULL) AS pending,
        round(pass / applicable, 3) AS pass_share
    FROM expected_verdicts e GROUP BY e.stage, e."check"
    UNION ALL BY NAME
    SELECT stage, '(replied)' AS "check", requests AS applicable, replies AS pass, 0 AS fail, 0 AS undecided,
        failed AS error, 0 AS pending, round(replies / requests, 3) AS pass_share
    FROM stages
    UNION ALL BY NAME
    SELECT stage, '(kept)' AS "check", replies AS applicable, kept AS pass, replies - kept AS fail, 0 AS undecided,
        0 AS error, 0 AS pending, round(kept / greatest(replies, 1), 3) AS pass_share
    FROM stages JOIN kept USING (stage)
)
ORDER BY stage, "check" = '(kept)', "check" <> '(replied)', "check";

CREATE VIEW yield_by_prompt AS
SELECT *, round(correct / greatest(replies, 1), 3) AS solve_rate
FROM (
    SELECT prompt_id, stage, policy, domain, source,
        any_value(messages[-1].content) AS question,
        count(*) AS samples,
        count(*) FILTER (WHERE f.error IS NULL) AS replies,
        count(*) FILTER (WHERE f.correct) AS correct,
        count(*) FILTER (WHERE f.kept) AS kept
    FROM trajectory_facts f
    GROUP BY prompt_id, stage, policy, domain, source
);

-- Unbiased pass@k = 1 - C(n-c, k) / C(n, k) (Chen et al. 2021), mean over prompts with at least k replies.
CREATE VIEW pass_at_k AS
SELECT stage, policy, source, k,
    count(*) AS prompts,
    round(avg(CASE WHEN replies - correct < k THEN 1.0 ELSE
        1.0 - exp(lgamma(replies - correct + 1) - lgamma(replies - correct - k + 1)
            - lgamma(replies + 1) + lgamma(replies - k + 1)) END), 4) AS pass_at_k
FROM yield_by_prompt, (VALUES (1), (2), (4), (8), (16), (32), (64)) AS ks(k)
WHERE replies >= k
GROUP BY ALL
ORDER BY ALL;

-- Held-out scores: strict (right and in the required form), lenient (right in any form), form alone.
CREATE VIEW evaluation AS
SELECT policy, source, count(DISTINCT prompt_id) AS prompts, count(*) AS samples,
    round(avg(CASE WHEN kept THEN 1 ELSE 0 END), 4) AS strict,
    round(avg(CASE WHEN correct THEN 1 ELSE 0 END), 4) AS lenient,
    round(avg(CASE WHEN list_contains(not_passed, 'format') THEN 0 ELSE 1 END), 4) AS format,
    count(*) FILTER (WHERE verifier_outcome IN ('undecided', 'error')) AS not_told,
    round(avg(completion_tokens), 1) AS mean_tokens
FROM trajectory_facts
WHERE stage = 'eval' AND error IS NULL
GROUP BY ALL
ORDER BY ALL;

CREATE VIEW throughput AS
SELECT stage, policy, engine, count(*) AS replies, sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    round(epoch(max(created_at) - min(created_at)), 1) AS span_seconds,
    round(avg(seconds), 2) AS mean_seconds
FROM trajectories
WHERE error IS NULL
GROUP BY ALL
ORDER BY ALL;

CREATE VIEW curves AS
SELECT run_id, name, step, value FROM metrics ORDER BY run_id, name, step;

-- What the check `features` counted in each reply, as columns; `score` is reflections in 1,000 words.
CREATE VIEW features AS
SELECT v.trajectory_id, v.attempt, v.version, t.prompt_id, t.stage, t.policy, t.step, t.completion_tokens,
    v.score, counted.*
FROM (
    SELECT *, from_json(details, '{
        "characters": "BIGINT", "reasoning_characters": "BIGINT", "answer_characters": "BIGINT", "words": "BIGINT",
        "lines": "BIGINT", "paragraphs": "BIGINT", "code_blocks": "BIGINT", "boxed": "BIGINT", "formulas": "BIGINT",
        "steps": "BIGINT", "reflections": "BIGINT", "digits": "DOUBLE"
    }') AS counted
    FROM verdicts_current
    WHERE "check" = 'features' AND outcome = 'pass'
) v
JOIN trajectories_current t USING (trajectory_id);
