"""Pages are driven in-process, by their address, over a warehouse that is made once."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.explore.made_up import make

util = pytest.importorskip("streamlit.util")
testing = pytest.importorskip("streamlit.testing.v1")
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("explore") / "made-up")


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    # AppTest puts the page's script in its place and leaves it there.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def open_page() -> Open:
    """Opens a page of the app at an address: open_page(warehouse, "rows", stage="eval")."""

    def script(path: str) -> None:
        from pathlib import Path

        from dashboards.app import main

        main(Path(path))

    def opened(warehouse: Path, page: str, **query: str) -> Any:
        app = testing.AppTest.from_function(script, args=(str(warehouse),), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        # The first page has the app's own address; others are known by a hash of theirs.
        app._finished_page_script_hash = util.calc_hash("" if page == "overview" else page)
        app.run()
        assert not app.exception
        return app

    return opened
