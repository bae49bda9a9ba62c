"""What a mix or a step asks of the trajectories it takes, as SQL over `trajectory_facts`."""

from collections.abc import Sequence

import duckdb


def refuse_more_than_a_condition(connection: duckdb.DuckDBPyConnection, where: str | None) -> None:
    """Raises duckdb.Error for a `where` that would close its bracket or start another statement."""
    if where:
        statements = connection.extract_statements(f"SELECT 1 FROM trajectory_facts WHERE {where}")
        if len(statements) != 1:
            raise duckdb.ParserException("one condition is expected, without a semicolon")


def conditions(require: Sequence[str], not_failed: Sequence[str], where: str | None) -> list[str]:
    """The conditions for checks that must have passed, for checks that must not have failed, and one in SQL."""
    found = [f"\"{check}\" = 'pass'" for check in require]
    found += [f"\"{check}\" IN ('pass', 'undecided')" for check in not_failed]
    # On a line of its own, so that a comment in it cannot hide what follows.
    return found + ([f"({where}\n)"] if where else [])


def known_checks(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The checks that have verdicts: those that `trajectory_facts` has columns of."""
    return {row[0] for row in connection.execute('SELECT DISTINCT "check" FROM verdicts').fetchall()}
