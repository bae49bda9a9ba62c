-- Held-out scores of every policy: strict (right and in form), lenient (right in any form), form alone
SELECT * FROM evaluation
