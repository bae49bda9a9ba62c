-- Curves of every training and evaluation that can be worked out from rows: rewards, pass@1, cons@k, length, reflection
SELECT left(run_id, 12) AS run, name, source, step, round(value, 4) AS value, n, setting
FROM curves
WHERE origin = 'rows'
ORDER BY run_id, name, source, setting, step
