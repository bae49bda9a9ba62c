-- Stretches in another language: by stage and languages how many replies hold some, how many failed, and one of them
SELECT stage, language, s."language" AS found,
    count(DISTINCT trajectory_id) AS replies,
    count(DISTINCT trajectory_id) FILTER (WHERE outcome = 'fail') AS failed,
    count(*) AS stretches,
    sum(s."end" - s."start")::BIGINT AS characters,
    min_by(left(trajectory_id, 12) || ': ' || left(regexp_replace(text[s."start" + 1 : s."end"], '\s+', ' ', 'g'), 60),
        (share, trajectory_id)) AS example
FROM (SELECT *, unnest(spans) AS s FROM language_mix)
GROUP BY ALL
ORDER BY stage, replies DESC, language, found
