"""What the tests of the pages of leads share: a busy warehouse, queries over it, and pages driven in this process."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.lead.context import Rows
from dataengine.desk import Desk
from schemas.queue import Queue
from tests.dashboards.lead.made_up import QUEUES, busy
from warehouse.connect import connect
from warehouse.fetching import as_dicts
from warehouse.store import Warehouse

testing = pytest.importorskip("streamlit.testing.v1")
Page = Callable[..., Any]
Link = Callable[[str], str] | None


def rows_of(path: Path) -> Rows:
    def rows(sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
        with connect(path) as connection:
            return as_dicts(connection.execute(sql, list(parameters)))

    return rows


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busy(tmp_path_factory.mktemp("crowd") / "w").path


@pytest.fixture
def crowded(crowd: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be changed."""
    return Path(shutil.copytree(crowd, tmp_path / "crowded"))


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse.open(tmp_path / "w", create=True)


@pytest.fixture
def rows(warehouse: Warehouse) -> Rows:
    return rows_of(warehouse.path)


@pytest.fixture
def desks() -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def at(path: Path, queues: dict[str, Queue] | None = None) -> Desk:
        opened.append(Desk(Warehouse.open(path), QUEUES if queues is None else queues))
        return opened[-1]

    yield at
    for desk in opened:
        desk.close()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Draws a page of leads by its name, at a desk."""
    # AppTest puts the page's script in its place and leaves it there.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def draw(name: str, desk: Desk, *, roles: tuple[str, ...] = ("lead",), link: Link = None, **query: str) -> Any:
        def script(name, desk, roles, link):  # type: ignore[no-untyped-def] # a text, run without its imports
            from dashboards.lead.pages import PAGES, shown
            from schemas.access import Person

            (drawn,) = [page[-1] for page in PAGES if page[0] == name]
            shown(drawn, desk.warehouse.path, desk.queues, Person("lea", roles), desk, link=link)

        app = testing.AppTest.from_function(script, args=(name, desk, roles, link), default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        assert not app.exception, app.exception[0].value
        return app

    return draw
