-- Tokens and time by stage and policy
SELECT * FROM throughput
