"""Required of a mix: that every row survives a tokenizer's chat template, and has no more tokens than it may."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb

from schemas.errors import SnapshotError
from schemas.manifest import TemplateCheck
from schemas.mix import AnyMix, Mix

# Rows that are read and measured together.
_BATCH = 1024
_SHOWN_IDS = 5


@dataclass(frozen=True)
class Measured:
    """A row as a chat template writes it: its tokens, and those of them that are learnt; or what is wrong with it."""

    id: str
    tokens: int | None = None
    loss_tokens: int | None = None
    fault: str | None = None
    problem: str | None = None


class Chat(Protocol):
    """A tokenizer with its chat template, as somebody above this floor renders it.

    `name` is the tokenizer's, `sha256` that of the template's text.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102

    def measure(self, batches: Iterable[Sequence[tuple[str, Any]]], rows: int) -> Iterator[list[Measured]]:
        """What the template makes of each of so many rows, given in batches of (id, messages with the reply last)."""


#: Gives the chat template of a tokenizer that a mix names. Raises ConfigError for one that cannot be used.
OpenChat = Callable[[str], Chat]


def chat_of(mix: AnyMix, open_chat: OpenChat | None) -> Chat | None:
    """The chat template that the mix names, or None where it names none. Raises ConfigError as `open_chat` does."""
    if not isinstance(mix, Mix) or mix.chat_template is None:
        return None
    if open_chat is None:
        raise ValueError(f"mix {mix.mix} names a chat_template, and nobody opens it")
    return open_chat(mix.chat_template.tokenizer)


def begin_fitting(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table `measured`, by source of a mix and candidate."""
    connection.execute(
        "CREATE OR REPLACE TABLE measured "
        "(source INTEGER, id VARCHAR, tokens BIGINT, loss_tokens BIGINT, fault VARCHAR, problem VARCHAR)"
    )


def fitting(
    connection: duckdb.DuckDBPyConnection,
    mix: Mix,
    number: int,
    candidates: str,
    messages: str,
    parameters: Mapping[str, object],
    chat: Chat,
) -> str:
    """The candidates of source `number`, where `early` is `overlong` for those that the mix drops as too long.

    `candidates` is a SELECT as for `choose_from`, `messages` one of (id, messages) of those of a table `waiting`, given
    the `parameters`.
    """
    asked = mix.chat_template
    if asked is None:
        return candidates
    connection.execute(
        f"CREATE OR REPLACE TABLE waiting AS SELECT id FROM ({candidates}) WHERE early IS NULL",
        {"seed": str(mix.seed)},
    )
    row = connection.execute("SELECT count(*) FROM waiting").fetchone()
    batches = _batches(connection, messages, parameters)
    for measured in chat.measure(batches, int(row[0]) if row else 0):
        columns = [[getattr(m, n) for m in measured] for n in ("id", "tokens", "loss_tokens", "fault", "problem")]
        connection.execute(
            f"INSERT INTO measured SELECT {number}, unnest(?::VARCHAR[]), unnest(?::BIGINT[]), unnest(?::BIGINT[]), "
            "unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
            columns,
        )
    if asked.overlong != "drop":
        return candidates
    return f"""
        SELECT c.* REPLACE (CASE
            WHEN c.early IS NOT NULL THEN c.early
            WHEN m.tokens > {asked.max_length} THEN 'overlong' END AS early)
        FROM ({candidates}) c
        LEFT JOIN (SELECT * FROM measured WHERE source = {number}) m ON m.id = c.id"""


def _batches(
    connection: duckdb.DuckDBPyConnection, messages: str, parameters: Mapping[str, object]
) -> Iterator[list[tuple[str, Any]]]:
    cursor = connection.cursor().execute(messages, parameters)
    while batch := cursor.fetchmany(_BATCH):
        yield batch


_TAKEN = "measured m JOIN chosen c USING (source, id) WHERE c.dropped IS NULL"


def refuse_unfitting(connection: duckdb.DuckDBPyConnection, mix: Mix) -> None:
    """Raises SnapshotError for a row that the mix takes and its chat template spoils, or that is too long for it."""
    asked = mix.chat_template
    if asked is None:
        return
    faulty = connection.execute(
        f"SELECT fault, count(*), arg_min(problem, id), min(id, {_SHOWN_IDS}) FROM {_TAKEN} AND fault IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    if faulty:
        fault, rows, problem, ids = faulty[0]
        others = "".join(f"; {name}: {more:,} rows" for name, more, *_ in faulty[1:])
        raise SnapshotError(
            f"mix {mix.mix}: under the chat template of {asked.tokenizer}, {fault}: {problem}; {rows:,} rows, such as "
            f"{_named(ids)}{others}; name a tokenizer with another template, or leave these rows out by `where`"
        )
    if asked.max_length is None:
        return
    long = connection.execute(
        f"SELECT count(*), max(tokens), min(id, {_SHOWN_IDS}) FROM {_TAKEN} AND tokens > ?", [asked.max_length]
    ).fetchone()
    if long and long[0]:
        raise SnapshotError(
            f"mix {mix.mix}: {long[0]:,} rows are longer than max_length {asked.max_length} with the tokenizer "
            f"{asked.tokenizer}, the longest has {long[1]:,} tokens, such as {_named(long[2])}: raise it, or set "
            "chat_template.overlong to drop"
        )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ident[:12] for ident in ids)


def template_check(connection: duckdb.DuckDBPyConnection, mix: AnyMix, chat: Chat | None) -> TemplateCheck | None:
    """What the chat template makes of the rows that are taken, for the manifest; None where the mix names none."""
    if chat is None or not isinstance(mix, Mix) or mix.chat_template is None:
        return None
    row = connection.execute(
        f"SELECT sum(tokens)::BIGINT, sum(loss_tokens)::BIGINT, max(tokens) FROM {_TAKEN}"
    ).fetchone()
    tokens, loss_tokens, longest = row or (0, 0, 0)
    return TemplateCheck(
        tokenizer=chat.name,
        sha256=chat.sha256,
        tokens=tokens,
        loss_tokens=loss_tokens,
        longest=longest,
        max_length=mix.chat_template.max_length,
    )
