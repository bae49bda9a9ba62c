-- Judges beside the prompts' verifiers: who passed what, agreement and Cohen's kappa, by version
SELECT * FROM judge_agreement
