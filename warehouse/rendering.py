"""Prompts and replies as the messages that stand in snapshots, as SQL."""

from collections.abc import Mapping

import duckdb

# The verdicts on each of the trajectories in a table `replies`, one of a check: so they are sorted by the check.
_JUDGED = """
    SELECT trajectory_id,
        list_sort(list({'check': "check", 'version': version, 'outcome': outcome})) AS verdicts
    FROM verdicts_current SEMI JOIN replies USING (trajectory_id)
    GROUP BY trajectory_id"""

#: A prompt `p` as messages, with the template's `system` prompt: a prompt's own joins it, as when it was asked.
PROMPT = """list_concat(
            CASE WHEN system IS NULL THEN []
                WHEN p.messages[1].role = 'system' THEN
                    [{'role': 'system', 'content': system || E'\\n\\n' || p.messages[1].content}]
                ELSE [{'role': 'system', 'content': system}] END,
            CASE WHEN system IS NOT NULL AND p.messages[1].role = 'system' THEN p.messages[2:] ELSE p.messages END
        )"""


def trimmed(text: str) -> str:
    """A text without spaces and line breaks around it, as SQL.

    DuckDB's `trim` and `rtrim` decode the whole text, at a fiftieth of the speed of a look at its ends. A regular
    expression that ends with the text is searched for from its end.
    """
    ends = " OR ".join(f"{end}({text}, {space})" for end in ("starts_with", "suffix") for space in ("' '", "E'\\n'"))
    return f"CASE WHEN {ends} THEN regexp_replace(ltrim({text}, E' \\n'), '[ \\n]+\\z', '') ELSE {text} END"


# A reply whose think tags were never closed has no answer; a mix that does not require `format` may hold it.
_REASONING = f"({trimmed('reasoning')})"
#: The final answer of a trajectory.
ANSWER = "(" + trimmed("coalesce(answer, '')") + ")"
# By `concat`, which copies a text once; a chain of `||` copies it for each of its parts.
_THINK = f"concat(E'<think>\\n', {_REASONING}, E'\\n</think>\\n', {ANSWER})"
#: The whole reply of a trajectory, its reasoning in think tags.
WHOLE = f"CASE WHEN reasoning IS NULL THEN {ANSWER} ELSE {_THINK} END"
#: The same, by `pattern`.
PATTERNED = f"""CASE WHEN reasoning IS NULL THEN {ANSWER}
                WHEN pattern = 'special_token' THEN
                    concat('|special_token|', {_REASONING}, '|special_token|', {ANSWER})
                ELSE {_THINK} END"""
SHOWN = {"answer": ANSWER, "whole": WHOLE}


def assistant(content: str) -> str:
    """A list of the one assistant's message with that content."""
    return f"[{{'role': 'assistant', 'content': {content}}}]"


#: A trajectory `t` and its prompt `p` as the messages of a sample, by the template's `system` prompt and the `pattern`.
SAMPLE = f"list_concat({PROMPT}, {assistant(PATTERNED)})"


def define_selected(
    connection: duckdb.DuckDBPyConnection,
    taken: str,
    rendered: str,
    parameters: Mapping[str, object],
    replies: str | None = "SELECT trajectory_id FROM taken",
) -> None:
    """Makes the view `selected`, the rows of a mix: texts are rendered as it is read, and never held all at once.

    `taken` is a SELECT of what is taken, narrow, with the number of its `source`; it becomes the table of that name.
    `rendered` selects from it, from `parts` (of each `source` the `system` prompt and the `pattern`) and from `judged`,
    the verdicts on the trajectories that `replies` selects.
    """
    given = dict(parameters)
    parts = {"systems": given.pop("systems"), "patterns": given.pop("patterns", [])}
    connection.execute(
        "CREATE TABLE parts AS SELECT unnest(range(len($systems))) AS source, unnest($systems::VARCHAR[]) AS system, "
        "unnest($patterns::VARCHAR[]) AS pattern",
        parts,
    )
    connection.execute(f"CREATE TABLE taken AS {taken}", given)
    if replies:
        connection.execute(f"CREATE TABLE replies AS {replies}")
        connection.execute(f"CREATE TABLE judged AS {_JUDGED}")
    connection.execute(f"CREATE VIEW selected AS {rendered}")
