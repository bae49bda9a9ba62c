"""The dashboard's pages over a small real warehouse, driven in-process."""

import sys
from pathlib import Path

import pytest

from schemas.records import Message, Prompt, Run, Trajectory, Verdict, now
from warehouse.store import Warehouse

testing = pytest.importorskip("streamlit.testing.v1")
HOSTILE = "<script>alert(1)</script> **not bold** $x$ :red[no]"


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "w"
    opened = Warehouse.open(path, create=True)
    prompt = Prompt.make(
        [Message(role="user", content="3 + 4?")], domain="math", source="s", reference="7", verifier="math"
    )
    opened.append("prompts", [prompt])
    opened.append("runs", [Run(run_id="r", event="started", recipe="x", config="{}", created_at=now())])
    rows = [
        Trajectory(
            trajectory_id=f"{i:064x}", prompt_id=prompt.prompt_id, stage="reasoning", policy="p@1", engine="import",
            sampling="{}", sample_index=i, rendered_key="k", text=HOSTILE if i else "7", answer="7",
            finish_reason="stop", run_id="r", created_at=now(),
        )
        for i in range(2)
    ]  # fmt: skip
    opened.append("trajectories", rows)
    opened.append(
        "verdicts",
        [
            Verdict(
                trajectory_id=t.trajectory_id, attempt=1, check="math", version="1", against=prompt.against,
                kind="verifier", outcome="fail" if i else "pass", reason="wrong" if i else "", run_id="r",
                created_at=now(),
            )
            for i, t in enumerate(rows)
        ],
    )  # fmt: skip
    return path


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    # AppTest puts the page's script in its place and leaves it there.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def page(warehouse: Path, name: str):  # type: ignore[no-untyped-def]
    def script(path: str) -> None:
        from pathlib import Path

        from dashboards.app import main

        main(Path(path))

    app = testing.AppTest.from_function(script, args=(str(warehouse),), default_timeout=60)
    app.run()
    app.sidebar.radio[0].set_value(name).run()
    assert not app.exception
    return app


def test_the_funnel_page_shows_counts_and_reasons(warehouse: Path) -> None:
    app = page(warehouse, "Funnel")
    reasons = app.dataframe[1].value
    assert list(reasons["reason"]) == ["wrong"]


def test_model_text_is_shown_exactly_and_never_as_markup(warehouse: Path) -> None:
    app = page(warehouse, "Trajectories")
    assert HOSTILE in [c.value for c in app.code]
    assert not any(HOSTILE in m.value for m in app.markdown)


def test_trajectories_can_be_narrowed_to_those_not_kept(warehouse: Path) -> None:
    app = page(warehouse, "Trajectories")
    app.selectbox(key="show").set_value("not kept").run()
    assert [c.value for c in app.code if c.value in ("7", HOSTILE)] == [HOSTILE]


def test_a_folder_that_is_no_warehouse_gets_one_clear_line(tmp_path: Path) -> None:
    app = page(tmp_path / "none", "Funnel")
    assert "no warehouse here" in app.error[0].value
