"""Of the replies to a prompt those that are least like each other."""

import duckdb

# So many of a reply's words stand for all of them: those with the smallest hashes (a bottom-k sketch, Broder 1997).
_WORDS = 128

# Words are what white space separates, and for scripts that have none, or little, the single characters.
_SKETCHES = """
CREATE OR REPLACE TABLE sketches AS
WITH passing AS (FROM ({passing})), several AS (
    SELECT id, prompt_id, lottery, said AS text FROM passing
    WHERE early IS NULL
    QUALIFY count(DISTINCT said) OVER (PARTITION BY prompt_id) > $most
        AND row_number() OVER (PARTITION BY prompt_id, said ORDER BY lottery) = 1
), worded AS (
    SELECT id, prompt_id, lottery, list_distinct(list_concat(
        string_split(translate(text, chr(10) || chr(9) || chr(13), '   '), ' '),
        CASE WHEN strlen(text) > length(text) THEN regexp_extract_all(text, '[\\x{{0E00}}-\\x{{10FFFF}}]') ELSE [] END
    )) AS words
    FROM several
)
SELECT id, prompt_id, lottery, 0.0::DOUBLE AS nearest, NULL::BIGINT AS pick,
    list_sort(list_transform(words, lambda word: md5_number_lower(word)))[:{words}] AS sketch
FROM worded
"""
_NEXT = """
CREATE OR REPLACE TABLE next_picks AS
SELECT id, prompt_id, sketch FROM sketches
WHERE pick IS NULL
QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY nearest, lottery, id) = 1
"""
# The share of the smallest hashes of either that both have: an estimate of what they have in common of all their words.
_NEARER = """
UPDATE sketches SET nearest = greatest(nearest, similarity)
FROM (
    SELECT id, len(list_intersect(list_intersect(either, one), other)) / len(either) AS similarity
    FROM (
        SELECT s.id, s.sketch AS one, n.sketch AS other,
            list_sort(list_distinct(list_concat(s.sketch, n.sketch)))[:{words}] AS either
        FROM sketches s JOIN next_picks n USING (prompt_id)
        WHERE s.pick IS NULL
    )
) compared
WHERE compared.id = sketches.id
"""


def pick_diverse(connection: duckdb.DuckDBPyConnection, passing: str, most: int, seed: str) -> None:
    """Makes the table `picked`: `pick` is 1 to `most` for those trajectories of each prompt that are to be taken.

    `passing` is a SELECT of (id, prompt_id, said, lottery, early) with the parameter `$seed`. The first of a
    prompt is drawn by lottery; each next one is that whose most similar picked reply is least similar to it, by the
    words that they share. Prompts with no more than `most` different replies are left out: all of theirs are taken.
    """
    connection.execute(_SKETCHES.format(passing=passing, words=_WORDS), {"most": most, "seed": seed})
    for number in range(1, most + 1):
        connection.execute(_NEXT)
        connection.execute("UPDATE sketches SET pick = ? WHERE id IN (SELECT id FROM next_picks)", [number])
        if number < most:
            connection.execute(_NEARER.format(words=_WORDS))
    connection.execute("CREATE OR REPLACE TABLE picked AS SELECT id, pick FROM sketches WHERE pick IS NOT NULL")
