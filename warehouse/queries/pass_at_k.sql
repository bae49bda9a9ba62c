-- Unbiased pass@k by stage, policy and source (right in any form)
SELECT * FROM pass_at_k
