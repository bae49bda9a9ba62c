-- The shapes people ask for. The braces in trajectory_facts are replaced by a pair of columns per check with verdicts.

-- One row per prompt. A prompt that two sources give different references counts as having none until a row of the
-- source 'resolution' chooses one: `conflict` says so. Windows are over prompts with several rows only, which are few.
CREATE VIEW prompts_current AS
WITH several AS (
    SELECT prompt_id FROM prompts GROUP BY prompt_id HAVING count(*) > 1
), latest AS (
    SELECT * FROM prompts SEMI JOIN several USING (prompt_id)
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
), told AS (
    FROM judged UNION ALL BY NAME
    SELECT *, 1 AS opinions, false AS resolved FROM prompts ANTI JOIN several USING (prompt_id)
)
SELECT prompt_id, revision, domain, source, source_ref, language, messages,
    CASE WHEN opinions > 1 AND NOT resolved THEN NULL ELSE reference END AS reference,
    verifier,
    CASE WHEN opinions > 1 AND NOT resolved THEN 'conflict' ELSE against END AS against,
    opinions > 1 AND NOT resolved AS conflict,
    license, metadata, created_at
FROM told;

-- The best attempt of each trajectory: complete before truncated before failed, then the latest. Whatever has been
-- attempted again has a second attempt, so the window is over few rows, and texts do not go through it.
CREATE VIEW trajectories_current AS
WITH again AS (
    SELECT trajectory_id FROM trajectories WHERE attempt > 1
), surpassed AS (
    SELECT trajectory_id, attempt FROM trajectories SEMI JOIN again USING (trajectory_id)
    QUALIFY row_number() OVER (
        PARTITION BY trajectory_id
        ORDER BY error IS NOT NULL, coalesce(finish_reason = 'length', false), attempt DESC
    ) > 1
)
SELECT * FROM trajectories ANTI JOIN surpassed USING (trajectory_id, attempt);

-- The same with the prompt: a query about one prompt then reads no other's verdicts. Of a check that has been in one
-- version only there are no later verdicts on an attempt; {several_versions} are the others, as a list.
CREATE VIEW verdicts_with_prompts AS
WITH standing AS (
    SELECT v.*, t.prompt_id
    FROM verdicts v
    JOIN trajectories_current t ON t.trajectory_id = v.trajectory_id AND t.attempt = v.attempt
    JOIN prompts_current p ON p.prompt_id = t.prompt_id
    WHERE v.against IN ('', p.against)
)
FROM standing WHERE "check" NOT IN {several_versions}
UNION ALL
FROM standing WHERE "check" IN {several_versions}
QUALIFY row_number() OVER (PARTITION BY prompt_id, trajectory_id, "check" ORDER BY created_at DESC, version DESC) = 1;

-- The verdict of each check on the current attempt, by its latest version and against the current reference.
CREATE VIEW verdicts_current AS SELECT * EXCLUDE (prompt_id) FROM verdicts_with_prompts;

-- The cluster of each prompt and each reply that has one; one that is near no other has its own. The version counts
-- that knows the most prompts, of equals the latest: not one that was cut short. What it does not know is as the latest
-- row says. A cluster that has joined another since, while the rest of its rows are missing, is `followed` to that one,
-- which always has a smaller id.
CREATE VIEW clusters_current AS
WITH RECURSIVE whole AS (
    SELECT kind, version FROM clusters GROUP BY kind, version
    QUALIFY row_number() OVER (
        PARTITION BY kind ORDER BY count(DISTINCT id) DESC, max(created_at) DESC, version DESC
    ) = 1
), told AS (
    SELECT c.kind, id, arg_max(cluster_id, (c.version = w.version, created_at, cluster_id)) AS cluster_id
    FROM clusters c JOIN whole w USING (kind)
    GROUP BY c.kind, id
), followed AS (
    SELECT kind, id, cluster_id FROM told
    UNION ALL
    SELECT f.kind, f.id, t.cluster_id
    FROM followed f JOIN told t ON t.kind = f.kind AND t.id = f.cluster_id AND t.cluster_id < f.cluster_id
)
SELECT kind, id, min(cluster_id) AS cluster_id
FROM followed
GROUP BY kind, id
UNION ALL
SELECT 'response' AS kind, trajectory_id AS id, coalesce(details ->> 'representative', trajectory_id) AS cluster_id
FROM verdicts_current
WHERE "check" = 'duplicate' AND outcome IN ('pass', 'fail');

-- The latest word of each person on each attempt and each pair, where they did not withdraw it; repeats, which people are
-- given unknowingly, are none. Who edited an attempt has approved what came of it (`by_editing`), for as long as the edit is
-- their latest word.
CREATE VIEW reviews_current AS
WITH said AS (
    -- A pair is one thing, whichever attempt of its first answer was shown.
    SELECT review_id, number, trajectory_id, attempt, pair_id, reviewer, verdict, false AS by_editing, child_id, note, tags,
        a_first, queue, guideline, role, seconds, created_at, if(pair_id IS NULL, attempt, 0) AS of_attempt
    FROM reviews
    WHERE repeat = 0
    QUALIFY row_number() OVER (
        PARTITION BY trajectory_id, of_attempt, pair_id, reviewer ORDER BY created_at DESC, number DESC
    ) = 1
), approved AS (
    SELECT * REPLACE (child_id AS trajectory_id, 1 AS attempt, 1 AS of_attempt, 'approve' AS verdict,
        true AS by_editing, NULL AS child_id)
    FROM said
    WHERE verdict = 'edit'
), latest AS (
    SELECT * FROM (FROM said UNION ALL BY NAME FROM approved)
    QUALIFY row_number() OVER (
        PARTITION BY trajectory_id, of_attempt, pair_id, reviewer ORDER BY created_at DESC, number DESC
    ) = 1
)
SELECT * EXCLUDE (of_attempt) FROM latest WHERE verdict <> 'withdraw';

-- Each two people who looked at the same attempts or pairs, without knowing of each other's edits: how many, the share
-- on which they said the same, and Cohen's kappa, which is NULL where both always said one and the same thing.
CREATE VIEW review_agreement AS
WITH compared AS (
    SELECT a.reviewer AS reviewer_a, b.reviewer AS reviewer_b, a.verdict AS said_a, b.verdict AS said_b
    FROM reviews_current a
    JOIN reviews_current b ON a.trajectory_id = b.trajectory_id AND a.pair_id IS NOT DISTINCT FROM b.pair_id
        AND (a.attempt = b.attempt OR a.pair_id IS NOT NULL)
    WHERE a.reviewer < b.reviewer AND NOT a.by_editing AND NOT b.by_editing
        AND a.role <> 'adjudicator' AND b.role <> 'adjudicator'
), one_side AS (
    SELECT reviewer_a, reviewer_b, said_a AS word, count(*) AS n FROM compared GROUP BY ALL
), other_side AS (
    SELECT reviewer_a, reviewer_b, said_b AS word, count(*) AS n FROM compared GROUP BY ALL
), chance AS (
    SELECT reviewer_a, reviewer_b, sum(one_side.n * other_side.n) AS alike
    FROM one_side JOIN other_side USING (reviewer_a, reviewer_b, word)
    GROUP BY reviewer_a, reviewer_b
), shares AS (
    SELECT reviewer_a, reviewer_b, count(*) AS n, count(*) FILTER (WHERE said_a = said_b) / n AS agreement,
        coalesce(any_value(alike), 0) / n ** 2 AS by_chance
    FROM compared LEFT JOIN chance USING (reviewer_a, reviewer_b)
    GROUP BY reviewer_a, reviewer_b
)
SELECT reviewer_a, reviewer_b, n, round(agreement, 4) AS agreement,
    round((agreement - by_chance) / nullif(1 - by_chance, 0), 4) AS kappa
FROM shares
ORDER BY n DESC, reviewer_a, reviewer_b;

-- Each version of each judge beside the prompts' verifiers, on what both decided: how often who passed it, and Cohen's
-- kappa (NULL where one of them said one thing only). What the judge could not decide is counted apart.
CREATE VIEW judge_agreement AS
WITH compared AS (
    SELECT j."check" AS judge, j.version, t.stage, j.outcome AS judged, r.outcome AS ruled
    FROM verdicts_current j
    JOIN trajectories_current t USING (trajectory_id)
    LEFT JOIN verdicts_current r ON r.trajectory_id = j.trajectory_id AND r.kind = 'verifier'
    WHERE j.kind = 'judge'
), counted AS (
    SELECT judge, version, stage, count(*) AS judged,
        count(*) FILTER (WHERE compared.judged NOT IN ('pass', 'fail')) AS undecided,
        count(*) FILTER (WHERE compared.judged IN ('pass', 'fail') AND ruled IN ('pass', 'fail')) AS n,
        count(*) FILTER (WHERE compared.judged = 'pass' AND ruled = 'pass') AS both_pass,
        count(*) FILTER (WHERE compared.judged = 'pass' AND ruled = 'fail') AS judge_only,
        count(*) FILTER (WHERE compared.judged = 'fail' AND ruled = 'pass') AS rule_only,
        count(*) FILTER (WHERE compared.judged = 'fail' AND ruled = 'fail') AS both_fail
    FROM compared
    GROUP BY judge, version, stage
), shares AS (
    SELECT *, (both_pass + both_fail) / nullif(n, 0) AS observed,
        ((both_pass + judge_only) * (both_pass + rule_only) + (both_fail + rule_only) * (both_fail + judge_only))
            / nullif(n, 0) ** 2 AS by_chance
    FROM counted
)
SELECT judge, version, stage, judged, undecided, n, both_pass, judge_only, rule_only, both_fail,
    round(observed, 4) AS agreement, round((observed - by_chance) / nullif(1 - by_chance, 0), 4) AS kappa
FROM shares
ORDER BY judge, version, stage;

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
-- (`undecided`) is no reason against a reply. `kept_by_checks` leaves out what people said.
CREATE VIEW trajectory_facts AS
WITH pivoted AS (
    SELECT prompt_id, trajectory_id,
        {outcomes}
        arg_max(outcome, created_at) FILTER (WHERE kind = 'verifier') AS verifier_outcome,
        count(*) AS checks,
        count(*) FILTER (WHERE outcome IN ('fail', 'error')) AS against,
        count(*) FILTER (WHERE kind <> 'person') AS rules,
        count(*) FILTER (WHERE outcome IN ('fail', 'error') AND kind <> 'person') AS rules_against,
        coalesce(list("check" ORDER BY "check") FILTER (WHERE outcome <> 'pass'), []) AS not_passed
    FROM verdicts_with_prompts
    GROUP BY prompt_id, trajectory_id
)
SELECT t.trajectory_id, t.attempt, t.prompt_id, t.stage, t.policy, t.engine, t.sampling, t.sample_index, t.parent_id,
    t.run_id,
    -- Which rewrite made it of its parent, by the prompt file's name.
    CASE WHEN t.parent_id IS NOT NULL THEN regexp_replace(t.sampling ->> 'rewrite', '@[^@]*$', '') END AS rewrite,
    p.domain, p.source, p.source_ref, p.language, p.messages, p.reference, p.verifier, p.license,
    t.reasoning, t.answer, t.text, t.finish_reason, t.prompt_tokens, t.completion_tokens, t.max_tokens,
    t.logprob_sum, t.seconds, t.error, t.step, t.created_at,
    CASE f.verifier_outcome WHEN 'pass' THEN true WHEN 'fail' THEN false END AS correct,
    t.error IS NULL AND f.checks IS NOT NULL AND f.against = 0
        AND coalesce(f.verifier_outcome = 'pass', true) AS kept,
    t.error IS NULL AND coalesce(f.rules, 0) > 0 AND f.rules_against = 0
        AND coalesce(f.verifier_outcome = 'pass', true) AS kept_by_checks,
    f.* EXCLUDE (prompt_id, trajectory_id, against, rules, rules_against)
FROM trajectories_current t
JOIN prompts_current p ON p.prompt_id = t.prompt_id
LEFT JOIN pivoted f ON f.prompt_id = t.prompt_id AND f.trajectory_id = t.trajectory_id;

-- One row per verdict that a threshold on its score could turn: `kept` as in trajectory_facts, `kept_if_passed` says
-- whether the reply would be kept if this check passed and every other verdict stayed as it is.
CREATE VIEW scored_verdicts AS
WITH given AS MATERIALIZED (
    SELECT trajectory_id, "check", version, kind, outcome, score, created_at FROM verdicts_current
), judged AS (
    SELECT trajectory_id,
        arg_max(outcome, created_at) FILTER (WHERE kind = 'verifier') AS verifier_outcome,
        count(*) FILTER (WHERE outcome IN ('fail', 'error')) AS against
    FROM given GROUP BY trajectory_id
)
SELECT trajectory_id, prompt_id, t.stage, t.policy, p.domain, p.source, p.language,
    g."check", g.version, g.kind, g.outcome, g.score,
    t.error IS NULL AND j.against = (g.outcome = 'fail')::INT
        AND (g.kind = 'verifier' OR coalesce(j.verifier_outcome = 'pass', true)) AS kept_if_passed,
    g.outcome = 'pass' AND kept_if_passed AS kept
FROM given g
JOIN judged j USING (trajectory_id)
JOIN trajectories_current t USING (trajectory_id)
JOIN prompts_current p USING (prompt_id)
WHERE g.score IS NOT NULL AND g.outcome IN ('pass', 'fail');

-- One row per verdict of language_mix. `share` is the score: count(*) FILTER (WHERE share < 0.9) is what 0.9 would fail.
-- Spans count characters of `text` from 0, the end not included, so a span is text[s."start" + 1 : s."end"].
CREATE VIEW language_mix AS
SELECT trajectory_id, prompt_id, t.stage, t.policy, p.domain, p.source, p.language,
    v.version, v.outcome, v.score AS share,
    TRY_CAST(v.details ->> 'words' AS BIGINT) AS words,
    TRY_CAST(v.details ->> 'segments_off' AS BIGINT) AS segments_off,
    TRY_CAST(v.details ->> 'switches' AS BIGINT) AS switches,
    list_zip(
        TRY_CAST(json_extract(v.details, '$.spans[*][0]') AS BIGINT[]),
        TRY_CAST(json_extract(v.details, '$.spans[*][1]') AS BIGINT[]),
        json_extract_string(v.details, '$.spans[*][2]')
    )::STRUCT("start" BIGINT, "end" BIGINT, "language" VARCHAR)[] AS spans,
    t.text
FROM verdicts_current v
JOIN trajectories_current t USING (trajectory_id)
JOIN prompts_current p USING (prompt_id)
WHERE v."check" = 'language_mix';

-- What the prompt's own verifier has passed: the rest is for a judge.
CREATE VIEW settled AS
SELECT v.trajectory_id
FROM verdicts_current v
JOIN trajectories_current t USING (trajectory_id)
JOIN prompts_current p ON p.prompt_id = t.prompt_id AND p.verifier = v."check"
WHERE v.outcome = 'pass';

-- Whether a judge is asked about a trajectory. A share is drawn by hash, so that every run draws the same.
CREATE MACRO in_scope(scope, share, is_settled, trajectory_id, version) AS
    CASE scope
        WHEN 'unsettled' THEN NOT is_settled
        WHEN 'share' THEN ('0x' || sha256(trajectory_id || version)[:13])::BIGINT / 16.0**13 < share
        ELSE true
    END;

-- What the prompts' verifiers said of a trajectory: the verdict that `correct` in trajectory_facts is of.
CREATE VIEW ruled AS
SELECT trajectory_id, arg_max(outcome, created_at) AS outcome, arg_max(version, created_at) AS version
FROM verdicts_current
WHERE kind = 'verifier'
GROUP BY trajectory_id;

-- Which checks a recipe asks for at a stage, of samples, of one import (by its name) or of one rewrite (by its version), by
-- its latest run; of which prompts' sources, under which system prompt. For a judge also in which scope, or of the pairs of which steps; its version
-- is NULL where it is not known before an engine is trained, and then any will do.
CREATE VIEW recipe_checks AS
SELECT recipe, c.stage, c.imported, c.rewrite, c."check", c.version, c.verifier, c.sources, c.system, c.scope, c.share,
    c.pairs, c.draws
FROM (
    SELECT recipe, unnest(from_json(checks,
        '[{"stage": "VARCHAR", "imported": "VARCHAR", "rewrite": "VARCHAR", "check": "VARCHAR", "version": "VARCHAR",
           "verifier": "BOOLEAN", "sources": ["VARCHAR"], "system": "VARCHAR", "scope": "VARCHAR", "share": "DOUBLE",
           "pairs": ["VARCHAR"], "draws": "BIGINT"}]')) AS c
    FROM runs
    QUALIFY dense_rank() OVER (PARTITION BY recipe ORDER BY created_at DESC) = 1
);

-- Every verdict that judges of pairs have given or should give, draw by draw, on the pairs of the steps that they are
-- asked about: outcome NULL means that it is still to come.
CREATE VIEW expected_draws AS
WITH wanted AS (
    SELECT s.pair_id, c."check", c.version AS wanted_version, unnest(range(c.draws)) AS draw
    FROM pair_steps s
    JOIN recipe_checks c ON c.recipe = s.recipe AND list_contains(c.pairs, s.step)
)
SELECT pair_id, "check", draw,
    arg_max(outcome, (created_at, version)) FILTER (WHERE coalesce(version = wanted_version, true)) AS outcome
FROM wanted FULL JOIN pair_verdicts USING (pair_id, "check", draw)
GROUP BY pair_id, "check", draw;

-- What each judge of pairs says in all, by its latest version, and as `rule` the prompts' verifiers, where they passed one
-- answer (2 or -2) and failed the other. `score` is the mean over the draws, above 0 where a is better; `kept` asks for all
-- draws, a verdict from more than half of them, and a score over 1 (R1 report). Chosen answers tend to be the longer ones:
-- among kept pairs of like difference in length, `balanced` has as many the other way round.
CREATE VIEW preferences AS
WITH latest AS (
    SELECT * FROM pair_verdicts
    QUALIFY version = arg_max(version, (created_at, version)) OVER (PARTITION BY pair_id, "check")
), means AS (
    SELECT pair_id, "check", version, max(draws) AS draws, count(*) AS drawn, count(score) AS verdicts,
        avg(score ORDER BY draw) AS score
    FROM latest
    GROUP BY pair_id, "check", version
    UNION ALL
    SELECT p.pair_id, 'rule', a.version, 1, 1, 1, CASE a.outcome WHEN 'pass' THEN 2.0 ELSE -2.0 END
    FROM pairs p
    JOIN ruled a ON a.trajectory_id = p.a_id
    JOIN ruled b ON b.trajectory_id = p.b_id
    WHERE (a.outcome, b.outcome) IN (('pass', 'fail'), ('fail', 'pass'))
), sided AS (
    SELECT m.*, p.prompt_id, p.a_id, p.b_id,
        CASE WHEN score > 0 THEN a_id WHEN score < 0 THEN b_id END AS chosen_id,
        CASE WHEN score > 0 THEN b_id WHEN score < 0 THEN a_id END AS rejected_id,
        coalesce(drawn = draws AND 2 * verdicts > draws AND abs(score) > 1, false) AS kept
    FROM means m JOIN pairs p USING (pair_id)
), measured AS (
    SELECT s.*, length(c.answer) AS chosen_length, length(r.answer) AS rejected_length,
        log2(chosen_length / rejected_length) AS longer
    FROM sided s
    LEFT JOIN trajectories_current c ON c.trajectory_id = s.chosen_id
    LEFT JOIN trajectories_current r ON r.trajectory_id = s.rejected_id
), placed AS (
    SELECT *,
        count(*) FILTER (WHERE longer > 0) OVER alike AS longer_chosen,
        count(*) FILTER (WHERE longer < 0) OVER alike AS shorter_chosen,
        row_number() OVER (PARTITION BY "check", kept, floor(4 * abs(longer)), sign(longer) ORDER BY sha256(pair_id))
            AS place
    FROM measured
    WINDOW alike AS (PARTITION BY "check", kept, floor(4 * abs(longer)))
)
SELECT * EXCLUDE (longer, longer_chosen, shorter_chosen, place),
    kept AND (longer = 0 OR place <= least(longer_chosen, shorter_chosen)) AS balanced
FROM placed;

-- Characters of an answer and of those that the same side gave before it.
CREATE MACRO said_length(messages, answer) AS
    length(coalesce(answer, '')) + coalesce(list_sum([length(m.content) FOR m IN messages IF m.role = 'assistant']), 0);

-- Pairs that `trainers evaluate` compares, by step and judge: `a` is the evaluated policy's answer, `b` the baseline's. The
-- score is the mean of the two orders', so that what stands first has no weight; there is one when all draws are made, more
-- than half of them are verdicts, and either order has one. `won` is 1, 0.5 for a tie, or 0; `consistent` says that both
-- orders agree. Later turns of a talk have the prompt of its first as `question_id`.
CREATE VIEW pairwise AS
WITH told AS (
    SELECT pair_id, "check", version, max(draws) AS draws, count(*) AS drawn,
        bool_or(reason = 'no_answer') AS no_answer,
        count(score) AS verdicts,
        avg(score ORDER BY draw) FILTER (WHERE a_first) AS shown_first,
        avg(score ORDER BY draw) FILTER (WHERE NOT a_first) AS shown_second
    FROM pair_verdicts
    GROUP BY pair_id, "check", version
)
SELECT s.recipe, s.step, d."check", d.version, p.pair_id, p.prompt_id,
    coalesce(m.metadata ->> '$.of', p.prompt_id) AS question_id,
    coalesce((m.metadata ->> '$.turn')::INT, 1) AS turn,
    m.source, a.policy, b.policy AS baseline, d.draws, d.drawn, d.no_answer,
    CASE WHEN d.drawn = d.draws AND 2 * d.verdicts > d.draws THEN (d.shown_first + d.shown_second) / 2 END AS score,
    CASE WHEN score IS NOT NULL THEN 0.5 + sign(score) / 2 END AS won,
    CASE WHEN score IS NOT NULL AND NOT d.no_answer THEN sign(d.shown_first) = sign(d.shown_second) END AS consistent,
    said_length(m.messages, a.answer) AS length, said_length(n.messages, b.answer) AS baseline_length,
    coalesce(a.finish_reason = 'length', false) AS truncated
FROM pair_steps s
JOIN pairs p USING (pair_id)
JOIN told d USING (pair_id)
JOIN trajectories_current a ON a.trajectory_id = p.a_id
JOIN trajectories_current b ON b.trajectory_id = p.b_id
JOIN prompts_current m ON m.prompt_id = a.prompt_id
JOIN prompts_current n ON n.prompt_id = b.prompt_id
WHERE a.stage = 'eval';

-- Per stage and check: applicable = pass + fail + undecided + error + pending (the conservation line).
--
-- Trajectories that are `alike` are asked for the same checks, so their verdicts are counted together: of all of them one
-- is expected, or those are that there are. One by one stand only the checks of which a trajectory may have several
-- verdicts, and judges that are not asked about all trajectories that are alike. Numbers take the place of ids, and each
-- verdict is joined with its trajectory once.
CREATE VIEW funnel AS
WITH current AS MATERIALIZED (
    SELECT t.trajectory_id, t.attempt, t.stage, t.run_id, t.system_prompt, t.error IS NULL AS replied, p.against,
        p.verifier, p.source,
        CASE WHEN t.engine = 'import' THEN t.sampling ->> 'imported' END AS imported,
        CASE WHEN t.parent_id IS NOT NULL THEN split_part(t.sampling ->> 'rewrite', '@', -1) END AS rewrite,
        row_number() OVER () AS number,
        hash((t.stage, t.run_id, t.system_prompt, replied, p.verifier, p.source, imported, rewrite)) AS alike
    FROM trajectories_current t JOIN prompts_current p USING (prompt_id)
), groups AS MATERIALIZED (
    SELECT alike, count(*) AS size, any_value(stage) AS stage, any_value(run_id) AS run_id,
        any_value(system_prompt) AS system_prompt, any_value(replied) AS replied, any_value(verifier) AS verifier,
        any_value(source) AS source, any_value(imported) AS imported, any_value(rewrite) AS rewrite
    FROM current GROUP BY alike
), asked AS (
    -- Two steps of a stage may ask for one check with different settings; a verdict by either will do.
    SELECT recipe, stage, imported, rewrite, "check", list(version) FILTER (version IS NOT NULL) AS versions,
        bool_or(verifier) AS verifier, sources, system, scope, share
    FROM recipe_checks GROUP BY ALL
), asked_of AS MATERIALIZED (
    SELECT g.alike, c."check", c.versions, c.scope, c.share,
        c."check" IN {several_versions}
            OR bool_or(coalesce(c.scope IN ('unsettled', 'share'), false)) OVER (PARTITION BY c."check") AS singly
    FROM groups g
    JOIN runs_current r USING (run_id)
    JOIN asked c ON c.recipe = r.recipe AND c.stage = g.stage AND c.imported IS NOT DISTINCT FROM g.imported
        AND c.rewrite IS NOT DISTINCT FROM g.rewrite
    WHERE g.replied AND (NOT c.verifier OR c."check" = g.verifier)
        AND coalesce(list_contains(c.sources, g.source), true) AND coalesce(c.system = coalesce(g.system_prompt, ''), true)
), given AS MATERIALIZED (
    SELECT t.number, t.alike, v."check", v.version, v.outcome, v.kind = 'verifier' AS verifies,
        coalesce(v."check" = t.verifier, false) AS settles, v.created_at
    FROM verdicts v JOIN current t ON t.trajectory_id = v.trajectory_id AND t.attempt = v.attempt
    WHERE v.against IN ('', t.against)
), counted AS MATERIALIZED (
    SELECT alike, "check", version, outcome, count(*) AS n
    FROM given
    WHERE "check" NOT IN {several_versions} AND "check" NOT IN (SELECT "check" FROM asked_of WHERE singly)
    GROUP BY alike, "check", version, outcome
), together AS (
    SELECT alike, "check", flatten(list(versions)) AS versions, bool_or(versions IS NULL) AS any_version
    FROM asked_of WHERE NOT singly GROUP BY alike, "check"
), settled_here AS (
    SELECT number FROM given
    WHERE settles AND alike IN (SELECT alike FROM asked_of WHERE scope = 'unsettled')
    GROUP BY number
    HAVING arg_max(outcome, (created_at, version)) = 'pass'
), wanted AS (
    SELECT t.number, t.alike, a."check", a.versions
    FROM asked_of a
    JOIN current t USING (alike)
    LEFT JOIN settled_here s USING (number)
    WHERE a.singly AND in_scope(a.scope, a.share, s.number IS NOT NULL, t.trajectory_id, a.versions[1])
), one_by_one AS (
    SELECT alike, "check",
        arg_max(outcome, (created_at, version)) FILTER (WHERE coalesce(list_contains(versions, version), true)) AS outcome
    FROM wanted FULL JOIN (
        SELECT * FROM given
        WHERE "check" IN {several_versions} OR "check" IN (SELECT "check" FROM asked_of WHERE singly)
    ) USING (number, alike, "check")
    GROUP BY number, alike, "check"
), expected AS (
    -- A verdict by a version that nobody asks for stands for one that is still to come: outcome NULL.
    SELECT alike, "check",
        CASE WHEN coalesce(any_version OR list_contains(versions, version), true) THEN outcome END AS outcome, n
    FROM counted LEFT JOIN together USING (alike, "check")
    UNION ALL
    SELECT alike, "check", NULL AS outcome, size - coalesce(sum(n), 0) AS n
    FROM together JOIN groups USING (alike) LEFT JOIN counted USING (alike, "check")
    GROUP BY alike, "check", size
    UNION ALL
    SELECT alike, "check", outcome, 1 AS n FROM one_by_one
), lines AS (
    SELECT stage, "check", outcome, n FROM expected JOIN groups USING (alike) WHERE n > 0
    UNION ALL
    SELECT '(pairs)' AS stage, "check", outcome, 1 AS n FROM expected_draws
), stages AS (
    SELECT stage, count(*) AS requests, count(*) FILTER (WHERE error IS NULL) AS replies,
        count(*) FILTER (WHERE error IS NOT NULL) AS failed
    FROM trajectories_current GROUP BY stage
), standing AS (
    FROM given WHERE "check" NOT IN {several_versions}
    UNION ALL
    FROM given WHERE "check" IN {several_versions}
    QUALIFY row_number() OVER (PARTITION BY number, "check" ORDER BY created_at DESC, version DESC) = 1
), untold AS (
    -- Where several verifiers have said something, the latest counts; looked for only where one could not tell.
    SELECT number FROM standing
    WHERE verifies AND number IN (SELECT number FROM given WHERE verifies AND outcome = 'undecided')
    GROUP BY number
    HAVING arg_max(outcome, created_at) = 'undecided'
), judged AS (
    SELECT number, alike, bool_or(outcome IN ('fail', 'error')) AS against FROM standing GROUP BY number, alike
), kept AS (
    -- As in trajectory_facts. A verifier that has not passed a reply has failed it, or could not tell.
    SELECT stage, count(*) FILTER (WHERE replied AND NOT against) AS kept
    FROM groups LEFT JOIN (FROM judged ANTI JOIN untold USING (number)) USING (alike)
    GROUP BY stage
)
SELECT * FROM (
    SELECT stage, "check", sum(n)::BIGINT AS applicable,
        coalesce(sum(n) FILTER (WHERE outcome = 'pass'), 0)::BIGINT AS pass,
        coalesce(sum(n) FILTER (WHERE outcome = 'fail'), 0)::BIGINT AS fail,
        coalesce(sum(n) FILTER (WHERE outcome = 'undecided'), 0)::BIGINT AS undecided,
        coalesce(sum(n) FILTER (WHERE outcome = 'error'), 0)::BIGINT AS error,
        coalesce(sum(n) FILTER (WHERE outcome IS NULL), 0)::BIGINT AS pending,
        round(pass / applicable, 3) AS pass_share
    FROM lines
    GROUP BY stage, "check"
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

-- The funnel of one check at another threshold, over the replies that it gave a score: FROM funnel_at('language_mix',
-- at_least := 0.9). `lost` are kept today and would not be, `gained` the other way round; undecided stays undecided.
CREATE MACRO funnel_at(check_name, at_least := NULL, at_most := NULL) AS TABLE
SELECT stage, count(*) AS scored,
    count(*) FILTER (WHERE outcome = 'pass') AS pass,
    count(*) FILTER (WHERE passes) AS pass_at,
    count(*) FILTER (WHERE kept) AS kept,
    count(*) FILTER (WHERE kept AND NOT passes) AS lost,
    count(*) FILTER (WHERE NOT kept AND kept_if_passed AND passes) AS gained,
    count(*) FILTER (WHERE kept_if_passed AND passes) AS kept_at
FROM (
    SELECT *, coalesce(score >= at_least, true) AND coalesce(score <= at_most, true) AS passes
    FROM scored_verdicts WHERE "check" = check_name
)
GROUP BY stage
ORDER BY stage;

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

-- What replies are made of, before and after the checks: per stage one row for each source, domain, language and
-- difficulty. A prompt's difficulty is the share of its replies that are right, over all policies of the stage.
CREATE VIEW balance AS
WITH repeated AS (
    SELECT trajectory_id FROM verdicts_current WHERE "check" = 'duplicate' AND outcome = 'fail'
), asked AS (
    SELECT f.stage, f.prompt_id,
        any_value(f.source) AS source, any_value(f.domain) AS domain, any_value(f.language) AS language,
        count(*) AS replies, count(*) FILTER (WHERE f.kept) AS kept, count(r.trajectory_id) AS duplicates,
        sum(f.completion_tokens) FILTER (WHERE f.kept) AS kept_tokens,
        CASE WHEN count(f.correct) > 0 THEN count(*) FILTER (WHERE f.correct) / count(*) END AS solve_rate
    FROM trajectory_facts f LEFT JOIN repeated r USING (trajectory_id)
    WHERE f.error IS NULL
    GROUP BY f.stage, f.prompt_id
), placed AS (
    SELECT *, CASE
        WHEN solve_rate IS NULL THEN 'not verified' WHEN solve_rate = 0 THEN '0' WHEN solve_rate <= 0.25 THEN 'to 0.25'
        WHEN solve_rate <= 0.5 THEN 'to 0.5' WHEN solve_rate <= 0.75 THEN 'to 0.75' WHEN solve_rate < 1 THEN 'below 1'
        ELSE '1' END AS difficulty
    FROM asked
), grouped AS (
    SELECT stage,
        CASE WHEN grouping(source) = 0 THEN 'source' WHEN grouping(domain) = 0 THEN 'domain'
            WHEN grouping(language) = 0 THEN 'language' ELSE 'difficulty' END AS dimension,
        coalesce(source, domain, language, difficulty) AS value,
        count(*) AS prompts, sum(replies)::BIGINT AS replies, sum(kept)::BIGINT AS kept,
        sum(duplicates)::BIGINT AS duplicates, coalesce(sum(kept_tokens), 0)::BIGINT AS kept_tokens,
        avg(solve_rate) AS solve_rate
    FROM placed
    GROUP BY GROUPING SETS ((stage, source), (stage, domain), (stage, language), (stage, difficulty))
)
SELECT stage, dimension, value, prompts, replies,
    round(replies / sum(replies) OVER part, 4) AS share,
    kept,
    round(kept / greatest(sum(kept) OVER part, 1), 4) AS kept_share,
    kept_tokens, duplicates, round(solve_rate, 3) AS solve_rate
FROM grouped
WINDOW part AS (PARTITION BY stage, dimension)
ORDER BY stage, dimension, CASE WHEN dimension = 'difficulty' THEN solve_rate END NULLS LAST, replies DESC, value;

-- How varied the replies of a stage are, all of them and those kept. An effective number is 2 to the power of the
-- entropy in bits: how many equally frequent sources would be as varied (Hill number of order 1).
CREATE VIEW diversity AS
WITH repeated AS (
    SELECT trajectory_id, reason, coalesce(details ->> 'representative', trajectory_id) AS cluster_id
    FROM verdicts_current WHERE "check" = 'duplicate' AND outcome IN ('pass', 'fail')
), replies AS (
    SELECT f.stage, f.prompt_id, f.source, f.domain, f.language, f.kept, p.cluster_id AS prompt_cluster,
        r.cluster_id AS reply_cluster, r.reason, lower(left(ltrim(coalesce(f.reasoning, f.text)), 60)) AS opening
    FROM trajectory_facts f
    LEFT JOIN repeated r USING (trajectory_id)
    LEFT JOIN clusters_current p ON p.kind = 'prompt' AND p.id = f.prompt_id
    WHERE f.error IS NULL
)
SELECT stage, part, count(*) AS replies, count(DISTINCT prompt_id) AS prompts,
    nullif(count(DISTINCT prompt_cluster), 0) AS prompt_clusters,
    nullif(count(DISTINCT reply_cluster), 0) AS reply_clusters,
    round(count(*) FILTER (WHERE reason = 'exact') / nullif(count(reply_cluster), 0), 4) AS exact_duplicates,
    round(count(*) FILTER (WHERE reason = 'near') / nullif(count(reply_cluster), 0), 4) AS near_duplicates,
    round(pow(2, entropy(source)), 2) AS effective_sources,
    round(pow(2, entropy(domain)), 2) AS effective_domains,
    round(pow(2, entropy(language)), 2) AS effective_languages,
    round(pow(2, entropy(opening)), 1) AS effective_openings
FROM replies, (VALUES ('replied'), ('kept')) AS parts(part)
WHERE part = 'replied' OR kept
GROUP BY stage, part
ORDER BY stage, part DESC;

-- How many worked examples went before an evaluation's questions, and in which setting they were put: what tells two
-- evaluations of one policy on one set apart. NULL for other stages.
CREATE MACRO shots_of(stage, sampling) AS
    CASE WHEN stage = 'eval' THEN coalesce(TRY_CAST(sampling ->> 'shots' AS BIGINT), 0) END;
CREATE MACRO setting_of(stage, sampling, max_tokens) AS
    CASE WHEN stage = 'eval' THEN concat_ws(' ', sampling ->> 'template', 'T=' || (sampling ->> 'temperature'),
        'top_p=' || (sampling ->> 'top_p'), 'max=' || max_tokens, 'examples=' || (sampling ->> 'examples')) END;

-- 1 - C(n-c, k) / C(n, k), of n samples of which c are right (Chen et al. 2021).
CREATE MACRO unbiased(n, c, k) AS
    CASE WHEN n - c < k THEN 1.0
        ELSE 1.0 - exp(lgamma(n - c + 1) - lgamma(n - c - k + 1) - lgamma(n + 1) + lgamma(n - k + 1)) END;

-- Unbiased pass@k, mean over prompts with at least k replies; k is a power of two, or as many as a prompt has at most.
CREATE VIEW pass_at_k AS
WITH counted AS (
    SELECT f.stage, f.policy, f.source, shots_of(f.stage, f.sampling) AS shots,
        setting_of(f.stage, f.sampling, f.max_tokens) AS setting, f.prompt_id,
        count(*) AS n, count(*) FILTER (WHERE f.correct) AS c
    FROM trajectory_facts f
    WHERE f.error IS NULL
    GROUP BY ALL
), sized AS (
    SELECT stage, policy, source, shots, setting, max(n) AS most FROM counted GROUP BY ALL
), ks AS (
    SELECT * EXCLUDE (most), unnest(list_append([(2 ** i)::BIGINT FOR i IN range(13) IF 2 ** i < most], most)) AS k
    FROM sized
)
SELECT ks.stage, ks.policy, ks.source, ks.shots, ks.setting, ks.k,
    count(*) AS prompts, round(avg(unbiased(n, c, ks.k)), 4) AS pass_at_k
FROM ks
JOIN counted USING (stage, policy, source)
WHERE n >= ks.k AND counted.shots IS NOT DISTINCT FROM ks.shots AND counted.setting IS NOT DISTINCT FROM ks.setting
GROUP BY ALL
ORDER BY ALL;

-- One row per evaluated sample of a prompt that a rule can mark. `vote` is the class of equal answers that it counts for in
-- cons@k: all right ones are one, called '', the others are as the check vote says; `votes` where answers to the prompt can
-- be equal at all.
CREATE VIEW evaluated AS
WITH said AS (
    SELECT trajectory_id,
        bool_or("check" = 'vote') AS votes,
        any_value(details ->> 'answer') FILTER (WHERE "check" = 'vote') AS answer,
        any_value(TRY_CAST(details ->> 'reflections' AS DOUBLE)) FILTER (WHERE "check" = 'features') AS reflections,
        any_value(score) FILTER (WHERE "check" = 'language_mix') AS consistency
    FROM verdicts_current
    WHERE "check" IN ('vote', 'features', 'language_mix')
    GROUP BY trajectory_id
)
SELECT f.trajectory_id, f.prompt_id, f.policy, f.source, shots_of(f.stage, f.sampling) AS shots,
    setting_of(f.stage, f.sampling, f.max_tokens) AS setting, f.sample_index, f.run_id,
    f.kept AS strict, coalesce(f.correct, false) AS correct,
    coalesce(NOT list_contains(f.not_passed, 'format'), true) AS in_form,
    coalesce(f.verifier_outcome IN ('pass', 'fail'), false) AS told,
    coalesce(s.votes, false) AS votes,
    CASE WHEN f.correct THEN '' ELSE s.answer END AS vote,
    f.completion_tokens AS tokens, f.finish_reason IS NOT DISTINCT FROM 'length' AS truncated, f.step,
    s.reflections, s.consistency
FROM trajectory_facts f
LEFT JOIN said s USING (trajectory_id)
WHERE f.stage = 'eval' AND f.error IS NULL AND f.verifier IS NOT NULL;

-- Held-out scores, means over prompts of means over samples: strict (right, and no check failed), lenient (right in any
-- form: pass@1), form alone; `stderr` is of lenient. Of the k samples that a prompt has at most: unbiased pass@k, over
-- prompts that have as many, and cons@k, where the most frequent answer counts and equally frequent ones their share.
CREATE VIEW evaluation AS
WITH voted AS (
    SELECT policy, source, shots, setting, prompt_id, avg(CASE WHEN best THEN 1.0 ELSE 0.0 END) AS cons
    FROM (
        SELECT policy, source, shots, setting, prompt_id, bool_or(correct) AS best
        FROM evaluated WHERE votes AND vote IS NOT NULL
        GROUP BY policy, source, shots, setting, prompt_id, vote
        QUALIFY count(*) = max(count(*)) OVER (PARTITION BY policy, source, shots, setting, prompt_id)
    )
    GROUP BY ALL
), prompted AS (
    SELECT policy, source, shots, setting, prompt_id, count(*) AS n, count(*) FILTER (WHERE correct) AS c,
        avg(strict::INT) AS strict, avg(correct::INT) AS lenient, avg(in_form::INT) AS form, bool_or(votes) AS votes,
        count(*) FILTER (WHERE NOT told) AS not_told, avg(tokens) AS tokens, avg(truncated::INT) AS truncated,
        avg(reflections) AS reflections, avg(consistency) AS consistency
    FROM evaluated
    GROUP BY ALL
), sized AS (
    SELECT *, max(n) OVER (PARTITION BY policy, source, shots, setting) AS k FROM prompted
)
SELECT policy, source, shots, setting, count(*) AS prompts, sum(n)::BIGINT AS samples, k,
    round(avg(strict), 4) AS strict, round(avg(lenient), 4) AS lenient,
    round(stddev_samp(lenient) / sqrt(count(*)), 4) AS stderr,
    round(avg(form), 4) AS format,
    round(avg(unbiased(n, c, k)) FILTER (WHERE n = k), 4) AS pass_at_k,
    round(avg(coalesce(cons, 0)) FILTER (WHERE votes), 4) AS cons_at_k,
    sum(not_told)::BIGINT AS not_told,
    round(avg(tokens), 1) AS mean_tokens, round(avg(truncated), 4) AS truncated,
    round(avg(reflections), 2) AS reflections, round(avg(consistency), 4) AS consistency
FROM sized
LEFT JOIN voted USING (policy, source, shots, setting, prompt_id)
GROUP BY policy, source, shots, setting, k
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

-- Curves over optimizer steps, one number a row. `origin` says whether it was logged (`metrics`) or is worked out here
-- from rows: `rollout/...` from what the weights of a step sampled, `eval/...` from evaluations of them, by source and
-- setting. `run_id` is the training's key, or of an evaluation whose training nobody knows the policy, at step 0. `n`
-- counts what the number is a mean of: replies, groups (the rollouts of a prompt and step), or prompts of an evaluation.
CREATE VIEW curves AS
WITH sampled AS (
    SELECT r.run_id, r.step, r.trajectory_id, r.attempt, r.reward, r.clipped, t.prompt_id, t.completion_tokens AS tokens
    FROM rollouts r
    JOIN trajectories t USING (trajectory_id, attempt)
), counted AS (
    SELECT run_id, step, avg(reward) AS reward, count(reward) AS rewarded, avg(tokens) AS tokens, count(tokens) AS timed,
        avg(clipped::INT) AS clipped, count(*) AS replies
    FROM sampled
    GROUP BY run_id, step
), spread AS (
    -- Without two different rewards there is nothing to tell good from bad replies by.
    SELECT run_id, step, avg(flat::INT) AS flat, count(*) AS groups
    FROM (
        SELECT run_id, step, coalesce(max(reward) = min(reward), true) AS flat
        FROM sampled GROUP BY run_id, step, prompt_id
    )
    GROUP BY run_id, step
), judged AS (
    -- What the training saw: its own verdicts, whatever was said of the replies since.
    SELECT s.run_id, s.step,
        CASE WHEN kind = 'reward' THEN 'rollout/rewards/' || substr("check", length('reward_') + 1)
            WHEN kind = 'verifier' THEN 'rollout/pass/' || "check" ELSE 'rollout/reflections' END AS name,
        CASE WHEN kind = 'reward' THEN score WHEN kind = 'verifier' AND outcome = 'pass' THEN 1
            WHEN kind = 'verifier' AND outcome = 'fail' THEN 0
            WHEN "check" = 'features' THEN TRY_CAST(details ->> 'reflections' AS DOUBLE) END AS value
    FROM sampled s
    JOIN verdicts v USING (trajectory_id, attempt, run_id)
    WHERE kind IN ('reward', 'verifier') OR "check" = 'features'
), trained AS (
    -- An evaluation's run names the training of its weights; what has a step was sampled by a training itself.
    SELECT e.policy,
        coalesce(any_value(coalesce(r.config ->> '$.training.key', if(e.step IS NULL, NULL, run_id))), e.policy) AS run_id,
        coalesce(any_value(coalesce(TRY_CAST(r.config ->> '$.training.step' AS BIGINT), e.step)), 0) AS step
    FROM (SELECT DISTINCT policy, run_id, step FROM evaluated) e
    LEFT JOIN runs_current r USING (run_id)
    GROUP BY e.policy
), listed AS (
    SELECT run_id, step, NULL AS source, NULL AS setting, 'rows' AS origin, unnest([
            {'name': 'rollout/reward', 'value': reward, 'n': rewarded},
            {'name': 'rollout/length', 'value': tokens, 'n': timed},
            {'name': 'rollout/clipped', 'value': clipped, 'n': replies},
            {'name': 'rollout/groups_without_spread', 'value': flat, 'n': groups}
        ]) AS point
    FROM counted JOIN spread USING (run_id, step)
    UNION ALL
    SELECT run_id, step, NULL, NULL, 'rows', {'name': name, 'value': avg(value), 'n': count(value)}
    FROM judged GROUP BY run_id, step, name
    UNION ALL
    SELECT t.run_id, t.step, source, concat_ws(' ', nullif(shots, 0) || '-shot', setting), 'rows', unnest([
            {'name': 'eval/pass@1', 'value': lenient, 'n': prompts},
            {'name': 'eval/strict', 'value': strict, 'n': prompts},
            {'name': 'eval/format', 'value': format, 'n': prompts},
            {'name': CASE WHEN k > 1 THEN 'eval/pass@' || k END, 'value': pass_at_k, 'n': prompts},
            {'name': 'eval/cons@' || k, 'value': cons_at_k, 'n': prompts},
            {'name': 'eval/length', 'value': mean_tokens, 'n': prompts},
            {'name': 'eval/clipped', 'value': truncated, 'n': prompts},
            {'name': 'eval/reflections', 'value': reflections, 'n': prompts},
            {'name': 'eval/language_consistency', 'value': consistency, 'n': prompts}
        ])
    FROM evaluation JOIN trained t USING (policy)
    UNION ALL
    SELECT run_id, step, NULL, NULL, 'metrics', {'name': name, 'value': value, 'n': NULL} FROM metrics
)
SELECT run_id, point.name AS name, step, point.value AS value, point.n AS n, source, setting, origin
FROM listed
WHERE point.name IS NOT NULL AND point.value IS NOT NULL
ORDER BY run_id, name, source, setting, step;

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
