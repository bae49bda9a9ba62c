"""Numbered changes of the warehouse's shape, recorded in it by name.

A new one is a function at the end of `MIGRATIONS`. Columns are only ever added.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.errors import WarehouseError, WarehouseTooNew
from schemas.records import Migration, now
from warehouse.writing import IO_ERRORS, io_error

if TYPE_CHECKING:
    from warehouse.store import Warehouse


def m001_tables(warehouse: "Warehouse") -> None:
    """Makes every table that the records of schema 1 name."""
    for table in ("prompts", "trajectories", "verdicts", "runs", "metrics"):
        warehouse.create_table(table)


def m002_clusters(warehouse: "Warehouse") -> None:
    """Makes the table of clusters of near duplicates."""
    warehouse.create_table("clusters")


def m003_reviews(warehouse: "Warehouse") -> None:
    """Makes the table of what people said."""
    warehouse.create_table("reviews")


def m004_calibrations(warehouse: "Warehouse") -> None:
    """Makes the table of how far judges agree with known verdicts."""
    warehouse.create_table("calibrations")


def m005_pairs(warehouse: "Warehouse") -> None:
    """Makes the tables of pairs, of the steps that they are of, and of what judges prefer."""
    for table in ("pairs", "pair_steps", "pair_verdicts"):
        warehouse.create_table(table)


def m006_logs_stay(warehouse: "Warehouse") -> None:
    """Makes the logs of all tables there were stay, so that old snapshots can be asked."""
    for table in (
        *("prompts", "trajectories", "verdicts", "runs", "metrics", "clusters", "reviews", "calibrations"),
        *("pairs", "pair_steps", "pair_verdicts"),
    ):
        warehouse.keep_log(table)


def m007_rollouts(warehouse: "Warehouse") -> None:
    """Makes the table of what reinforcement learning made of its samples."""
    warehouse.create_table("rollouts")


def m008_queues(warehouse: "Warehouse") -> None:
    """Gives reviews the columns of queues, pairs and roles."""
    warehouse.add_columns("reviews")


MIGRATIONS: list[Callable[["Warehouse"], None]] = [
    m001_tables,
    m002_clusters,
    m003_reviews,
    m004_calibrations,
    m005_pairs,
    m006_logs_stay,
    m007_rollouts,
    m008_queues,
]


def migrate(warehouse: "Warehouse", *, create: bool) -> None:
    """Brings the warehouse to this program's schema; raises WarehouseTooNew when it is ahead of it.

    Two processes may do so at once: every migration can be repeated, and its record is a keyed row. Raises
    WarehouseError where an older one cannot be written.
    """
    if create:
        warehouse.create_table(Migration.TABLE)
    # The version number of this table counts its commits, one per migration: no file has to be read.
    applied = warehouse.delta(Migration.TABLE).version()
    if applied > len(MIGRATIONS):
        raise WarehouseTooNew(
            f"{warehouse.path}: written by schema {applied}, this version knows {len(MIGRATIONS)}: "
            "pip install -U dataengine"
        )
    for number, migration in enumerate(MIGRATIONS[applied:], start=applied + 1):
        try:
            migration(warehouse)
        except IO_ERRORS as e:
            raise io_error(e, warehouse.path, WarehouseError) from e
        name = migration.__name__.partition("_")[2]
        warehouse.append(Migration.TABLE, [Migration(number=number, name=name, created_at=now())])
