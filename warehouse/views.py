"""The views of views.sql: all, or only those that are asked for."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb

from schemas.records import RECORDS
from warehouse.columns import outcome_column, score_column
from warehouse.quoting import literal

_WORD = re.compile(r"\w+")
# Places in views.sql that are filled by which checks have verdicts, in how many versions.
_OUTCOMES, _SEVERAL = "{outcomes}", "{several_versions}"
# To look up at once what every view is made of, and of what that is made, takes DuckDB a fifth of a second.
_VIEW, _DEFERRED = re.compile(r"^CREATE VIEW (\w+) AS", re.MULTILINE), r"CREATE VIEW \1 WITH (DEFER_BINDING) AS"


@dataclass(frozen=True)
class _Definition:
    """One statement of views.sql, and the tables and definitions before it that it names."""

    sql: str
    uses: frozenset[str]


@cache
def _definitions() -> dict[str, _Definition]:
    """By name, in the order of the file: each comes after what it uses."""
    found: dict[str, _Definition] = {}
    text = (Path(__file__).parent / "views.sql").read_text(encoding="utf-8")
    for statement in re.split(r";[ \t]*\n", text):
        if named := re.search(r"^CREATE (?:VIEW|MACRO) (\w+)", statement, re.MULTILINE):
            words = set(_WORD.findall(re.sub(r"--.*", "", statement)))
            uses = words & {*RECORDS, *found}
            if _OUTCOMES in statement or _SEVERAL in statement:
                uses.add("verdicts")
            found[named[1]] = _Definition(statement, frozenset(uses))
    return found


def names_in(sql: str) -> frozenset[str]:
    """The tables and views that a query may be about: those whose names stand in it, in whatever role.

    >>> sorted(names_in('SELECT count(*) FROM Trajectories JOIN "prompts_current" USING (prompt_id)'))
    ['prompts_current', 'trajectories']
    """
    return frozenset({*RECORDS, *_definitions()}.intersection(_WORD.findall(sql.lower())))


def made_of(names: Iterable[str]) -> set[str]:
    """Those tables and views, and all that they are made of."""
    definitions, wanted, todo = _definitions(), set[str](), list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += definitions[name].uses if name in definitions else ()
    return wanted


def create_views(
    connection: duckdb.DuckDBPyConnection, names: Collection[str] | None = None, *, bound: bool = False
) -> None:
    """Creates the views of those names, or all; the tables and views that they are made of have to be there.

    What their columns are is looked up when they are asked, or with `bound` now, as clients before DuckDB 2 need it.
    """
    chosen = [d.sql for name, d in _definitions().items() if names is None or name in names]
    sql = ";\n".join(chosen)
    if _OUTCOMES in sql or _SEVERAL in sql:
        versions_of = _versions_of_checks(connection)
        several = ", ".join(literal(check) for check, versions in versions_of.items() if versions > 1)
        sql = sql.replace(_OUTCOMES, _outcomes(versions_of)).replace(_SEVERAL, f"({several or literal('')})")
    connection.execute(sql if bound else _VIEW.sub(_DEFERRED, sql))


def _versions_of_checks(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The checks that have verdicts, and in how many versions; with a reference and without one counts as two."""
    rows = connection.execute(
        """SELECT "check", count(DISTINCT (version, against = '')) FROM verdicts GROUP BY "check" ORDER BY "check" """
    ).fetchall()
    return {check: int(versions) for check, versions in rows}


def _outcomes(checks: Iterable[str]) -> str:
    columns = []
    for name in checks:
        only = f'FILTER (WHERE "check" = {literal(name)})'
        columns.append(f"any_value(outcome) {only} AS {outcome_column(name)},")
        columns.append(f"any_value(score) {only} AS {score_column(name)},")
    return "\n        ".join(columns)
