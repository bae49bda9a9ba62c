-- Requests and checks that failed, by kind
SELECT 'request' AS what, stage AS name, error AS reason, count(*) AS n FROM trajectories WHERE error IS NOT NULL GROUP BY ALL
UNION ALL
SELECT 'check', "check", reason, count(*) FROM verdicts WHERE outcome = 'error' GROUP BY ALL
ORDER BY what, n DESC
