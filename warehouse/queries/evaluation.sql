-- Held-out scores per policy, source, shots and setting: strict, pass@1 (lenient), pass@k, cons@k, length, reflection
SELECT * FROM evaluation
