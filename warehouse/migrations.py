"""Numbered changes of the warehouse's shape, recorded in it by name.

A new one is a function at the end of `MIGRATIONS`. Columns are only ever added.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from schemas.errors import WarehouseTooNew
from schemas.records import RECORDS, Migration, now

if TYPE_CHECKING:
    from warehouse.store import Warehouse


def m001_tables(warehouse: "Warehouse") -> None:
    """Makes every table that the records of schema 1 name."""
    from schemas.arrow import arrow_schema

    for table in ("prompts", "trajectories", "verdicts", "runs", "metrics"):
        DeltaTable.create(warehouse.table_path(table).as_uri(), schema=arrow_schema(RECORDS[table]), mode="ignore")


MIGRATIONS: list[Callable[["Warehouse"], None]] = [m001_tables]


def migrate(warehouse: "Warehouse", *, create: bool) -> None:
    """Brings the warehouse to this program's schema; raises WarehouseTooNew when it is ahead of it.

    Two processes may do so at once: every migration can be repeated, and its record is a keyed row.
    """
    table = warehouse.table_path(Migration.TABLE)
    if create and not (table / "_delta_log").is_dir():
        from schemas.arrow import arrow_schema

        DeltaTable.create(table.as_uri(), schema=arrow_schema(Migration), mode="ignore")
    # The version number of this table counts its commits, one per migration: no file has to be read.
    applied = warehouse.delta(Migration.TABLE).version()
    if applied > len(MIGRATIONS):
        raise WarehouseTooNew(
            f"{warehouse.path}: written by schema {applied}, this version knows {len(MIGRATIONS)}: "
            "pip install -U dataengine"
        )
    for number, migration in enumerate(MIGRATIONS[applied:], start=applied + 1):
        migration(warehouse)
        name = migration.__name__.partition("_")[2]
        warehouse.append(Migration.TABLE, [Migration(number=number, name=name, created_at=now())])
