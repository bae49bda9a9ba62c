"""The snapshots page: what each holds, whether it is whole, what differs between two."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.dashboards.explore.conftest import Open
from tests.dashboards.explore.told import Told
from warehouse.store import Warehouse

# Pages are run many times: some minutes in all.
pytestmark = pytest.mark.slow


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "told")


def table(app: Any, column: str) -> Any:
    return next(d.value for d in app.dataframe if column in d.value)


def test_all_are_listed_with_their_tags(told: Told, open_page: Open) -> None:
    listed = table(open_page(told.path, "snapshots"), "tags")
    assert list(listed["snapshot"]) == ["snapshots?snapshot=sums%401", "snapshots?snapshot=sums%402"]
    assert list(listed["tags"]) == ["release", ""]


def test_one_shows_its_counts_tokens_checks_and_how_to_make_it(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "snapshots", snapshot="sums@release")
    assert [m.value for m in app.metric] == ["3", "1", "99", "1"]
    assert list(table(app, "check")["check"]) == ["language_mix", "math"]
    assert list(table(app, "policy")["rows"]) == [2, 1]
    assert len(table(app, "trajectory_id")) == 3
    assert any(f"dataengine snapshot verify sums@1 --content --warehouse {told.path}" in c.value for c in app.code)


def test_verify_says_whole_and_names_what_is_damaged(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "snapshots", snapshot="sums@1")
    app.checkbox(key="content").check().run()
    app.button(key="verify").click().run()
    assert "whole: 1 files, and the hash" in app.success[0].value
    (file,) = (told.path / "snapshots" / "sums" / "v1").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    app.button(key="verify").click().run()
    assert "1 faults" in app.error[0].value
    assert any("too short" in c.value or "is short" in c.value for c in app.code)


def test_two_are_compared_as_the_command_does(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "snapshots", before="sums@1", after="sums@2")
    assert [m.value for m in app.metric] == ["3", "2", "0", "0", "1", "1"]
    assert any('source 1.require: ["math"] -> ["math", "language_mix"]' in c.value for c in app.code)
    (chart,) = app.get("vega_lite_chart")
    assert pa.ipc.open_stream(chart.proto.data.data or chart.proto.datasets[0].data.data).read_all()[
        "tokens"
    ].to_pylist() == [99, 34]


@pytest.mark.parametrize("hostile", ["../../etc", "a@b@c", "<script>@1", "x" * 10_000, "%2e%2e@1", "sums@9", "none@1"])
@pytest.mark.parametrize("name", ["snapshot", "before"])
def test_what_is_no_snapshot_is_refused_on_one_line(told: Told, open_page: Open, name: str, hostile: str) -> None:
    app = open_page(told.path, "snapshots", **{name: hostile, "after": "sums@1"})
    assert [len(e.value) < 250 and "\n" not in e.value for e in app.error] == [True]
    assert not app.exception


def test_one_that_is_damaged_stands_in_nobodys_way(told: Told, open_page: Open) -> None:
    (told.path / "snapshots" / "sums" / "v2" / "manifest.json").write_text("{")
    app = open_page(told.path, "snapshots", snapshot="sums@1")
    assert "sums@2" in app.warning[0].value.replace("\\", "")
    assert app.metric


def test_without_any_it_says_how_to_make_one(tmp_path: Path, open_page: Open) -> None:
    Warehouse.open(tmp_path / "w", create=True)
    app = open_page(tmp_path / "w", "snapshots")
    assert "No snapshots yet" in app.info[0].value
    assert "dataengine snapshot create MIX" in app.code[0].value
