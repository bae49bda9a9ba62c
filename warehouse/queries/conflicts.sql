-- Prompts to which two sources give different references: verified against none until one is chosen
SELECT c.prompt_id, p.source, p.source_ref, p.reference, left(c.messages[-1].content, 60) AS question
FROM prompts_current c JOIN prompts p USING (prompt_id)
WHERE c.conflict
ORDER BY c.prompt_id, p.source, p.revision
