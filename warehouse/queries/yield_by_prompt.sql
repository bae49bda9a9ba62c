-- Samples, right ones and kept ones of every prompt, hardest first
SELECT stage, policy, source, left(question, 60) AS question, samples, correct, kept, solve_rate
FROM yield_by_prompt
ORDER BY stage, policy, solve_rate, source, prompt_id
