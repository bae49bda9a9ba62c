"""Prompts and replies as the messages that stand in snapshots, as SQL."""

#: The verdicts on each of the trajectories of a table `taken`, as a SELECT of (trajectory_id, verdicts).
JUDGED = """
    SELECT trajectory_id,
        list({'check': "check", 'version': version, 'outcome': outcome} ORDER BY "check") AS verdicts
    FROM verdicts_current SEMI JOIN taken USING (trajectory_id)
    GROUP BY trajectory_id"""

#: A prompt `p` as messages, with the template's `system` prompt: a prompt's own joins it, as when it was asked.
PROMPT = """list_concat(
            CASE WHEN system IS NULL THEN []
                WHEN p.messages[1].role = 'system' THEN
                    [{'role': 'system', 'content': system || E'\\n\\n' || p.messages[1].content}]
                ELSE [{'role': 'system', 'content': system}] END,
            CASE WHEN system IS NOT NULL AND p.messages[1].role = 'system' THEN p.messages[2:] ELSE p.messages END
        )"""

# A reply whose think tags were never closed has no answer; a mix that does not require `format` may hold it.
_REASONING = "trim(reasoning, E' \\n')"
#: The final answer of a trajectory.
ANSWER = "trim(coalesce(answer, ''), E' \\n')"
_THINK = f"'<think>' || chr(10) || {_REASONING} || chr(10) || '</think>' || chr(10) || {ANSWER}"
#: The whole reply of a trajectory, its reasoning in think tags.
WHOLE = f"CASE WHEN reasoning IS NULL THEN {ANSWER} ELSE {_THINK} END"
#: The same, by `pattern`.
PATTERNED = f"""CASE WHEN reasoning IS NULL THEN {ANSWER}
                WHEN pattern = 'special_token' THEN '|special_token|' || {_REASONING} || '|special_token|' || {ANSWER}
                ELSE {_THINK} END"""
SHOWN = {"answer": ANSWER, "whole": WHOLE}


def assistant(content: str) -> str:
    """A list of the one assistant's message with that content."""
    return f"[{{'role': 'assistant', 'content': {content}}}]"


#: A trajectory `t` and its prompt `p` as the messages of a sample, by the template's `system` prompt and the `pattern`.
SAMPLE = f"list_concat({PROMPT}, {assistant(PATTERNED)})"
