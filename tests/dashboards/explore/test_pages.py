"""Every page of the explore app over a real warehouse: what it counts, where it leads, what it does with nonsense."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from dashboards.explore.view import View, plain
from tests.dashboards.explore.conftest import Open
from tests.dashboards.explore.made_up import HOSTILE, STEPS
from warehouse.connect import connect
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow

HEADERS = {
    "overview": "Overview",
    "yields": "Yield",
    "passes": "pass@k and solve rates",
    "lengths": "Length",
    "languages": "Language mix",
    "judges": "Judge against rule",
    "mixes": "Mixes",
    "cost": "Cost",
    "curves": "Training curves",
}
CHARTS = tuple(HEADERS)


class Drawn:
    """A chart as the browser gets it: its Vega-Lite specification, and its rows."""

    def __init__(self, proto: Any) -> None:
        self.spec = json.loads(proto.spec)
        data = proto.data.data or proto.datasets[0].data.data
        with pa.ipc.open_stream(data) as stream:
            self.rows: list[dict[str, Any]] = stream.read_all().to_pylist()
        self.title = self.spec["title"]["text"]


def charts(app: Any) -> list[Drawn]:
    return [Drawn(element.proto) for element in app.get("vega_lite_chart")]


def rows(app: Any, title: str) -> list[dict[str, Any]]:
    """The rows of the chart whose title starts so."""
    return next(chart.rows for chart in charts(app) if chart.title.startswith(title))


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(path) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def open_page(open_page: Open) -> Open:
    """As the other, with the page's name before each parameter: yields?yields_by=source."""
    return lambda path, page, **query: open_page(path, page, **{f"{page}_{name}": v for name, v in query.items()})


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return Warehouse.open(tmp_path / "empty", create=True).path


@pytest.mark.parametrize("page", CHARTS)
def test_every_chart_has_a_title_and_says_of_how_many_it_is(made_up: Path, open_page: Open, page: str) -> None:
    app = open_page(made_up, page)
    assert app.header[0].value == HEADERS[page]
    assert charts(app)
    for chart in charts(app):
        assert chart.title
        assert chart.spec["title"]["subtitle"].startswith("n = ")


@pytest.mark.parametrize("page", CHARTS)
def test_without_any_rows_a_page_says_what_to_run(empty: Path, open_page: Open, page: str) -> None:
    app = open_page(empty, page)
    assert not charts(app)
    assert app.info
    assert any("dataengine" in c.value or "trainers" in c.value for c in app.code)


@pytest.mark.parametrize("page", CHARTS)
def test_nonsense_in_the_address_is_ignored(made_up: Path, open_page: Open, page: str) -> None:
    nonsense = "'; DROP TABLE x; --<script>"
    names = (
        "stage",
        "policy",
        "source",
        "by",
        "against",
        "judge",
        "snapshot",
        "split",
        "run",
        "name",
        "usd_in",
        "order",
    )
    app = open_page(made_up, page, **dict.fromkeys(names, nonsense))
    assert not app.error
    assert all(nonsense not in m.value for m in [*app.markdown, *app.caption])


@pytest.mark.parametrize("page", CHARTS)
def test_names_of_sources_are_never_markup(made_up: Path, open_page: Open, page: str) -> None:
    app = open_page(made_up, page)
    told = [m.value for m in [*app.markdown, *app.caption, *app.header, *app.info]]
    assert not any("<img" in text or "**b**" in text for text in told)
    assert not any("<img" in element.proto.body for element in app.get("html"))


def test_plain_text_keeps_every_character_and_no_markup() -> None:
    said = plain(HOSTILE)
    assert said.replace("\\", "") == HOSTILE
    assert "<" not in said.replace("\\<", "") and "*" not in said.replace("\\*", "")


def test_the_funnel_is_that_of_the_warehouse_and_its_parts_lead_to_rows(made_up: Path, open_page: Open) -> None:
    app = open_page(made_up, "overview", stage="reasoning")
    drawn = {(v["check"], v["outcome"]): v["n"] for v in rows(app, "Funnel of reasoning")}
    for check, passed, failed, pending in ask(
        made_up, "SELECT \"check\", pass, fail, pending FROM funnel WHERE stage = 'reasoning'"
    ):
        assert drawn.get((check, "pass"), 0) == passed
        assert drawn.get((check, "fail"), 0) == failed
        assert drawn.get((check, "pending"), 0) == pending
    assert any(pending for (_, outcome), pending in drawn.items() if outcome == "pending")
    links = dict(zip(app.dataframe[1].value["check"], app.dataframe[1].value["rows"], strict=True))
    assert parse_qs(urlsplit(links["math"]).query) == {"stage": ["reasoning"], "check": ["math"]}
    assert all(app.dataframe[1].value["adds up"])


def test_the_stage_comes_from_the_address(made_up: Path, open_page: Open) -> None:
    assert rows(open_page(made_up, "overview", stage="eval"), "Funnel of eval")


def test_yield_by_source_counts_right_and_kept(made_up: Path, open_page: Open) -> None:
    table = open_page(made_up, "yields", by="source", stage="reasoning").dataframe[0].value
    counted = ask(
        made_up,
        "SELECT source, count(*), count(*) FILTER (WHERE correct), count(*) FILTER (WHERE kept) FROM trajectory_facts "
        "WHERE stage = 'reasoning' GROUP BY source",
    )
    assert {(r.source, r.requests, r.right, r.kept) for r in table.itertuples()} == set(counted)
    assert HOSTILE in set(table["source"])


@pytest.mark.parametrize(
    ("order", "column", "largest"),
    [("fewest kept", "share kept", False), ("most kept", "share kept", True), ("fewest right", "share right", False)],
)
def test_prompts_come_in_the_order_that_is_asked_for(
    made_up: Path, open_page: Open, order: str, column: str, largest: bool
) -> None:
    table = open_page(made_up, "yields", by="prompt", stage="eval", order=order).dataframe[0].value
    shares = list(table[column])
    assert len(set(shares)) > 1
    assert shares == sorted(shares, reverse=largest)


def test_yield_of_a_prompt_leads_to_its_rows(made_up: Path, open_page: Open) -> None:
    table = open_page(made_up, "yields", by="prompt", stage="reasoning", order="most samples").dataframe[0].value
    prompts = {p for (p,) in ask(made_up, "SELECT prompt_id FROM prompts")}
    assert {parse_qs(urlsplit(link).query)["prompt"][0] for link in table["rows"]} == prompts
    assert all(table["requests"] == 8)


def test_solve_rates_count_every_prompt_once(made_up: Path, open_page: Open) -> None:
    bars = rows(open_page(made_up, "passes", stage="reasoning"), "Solve rates")
    assert sum(bar["prompts"] for bar in bars) == 20


def test_pass_at_k_is_the_mean_over_sources_by_their_prompts(made_up: Path, open_page: Open) -> None:
    points = rows(open_page(made_up, "passes", stage="reasoning"), "pass@k")
    drawn = {(p["policy"], p["k"]): p["pass_at_k"] for p in points}
    ((share,),) = ask(
        made_up,
        "SELECT avg(c / n) FROM (SELECT count(*) FILTER (WHERE correct) AS c, count(*) AS n FROM trajectory_facts "
        "WHERE stage = 'reasoning' AND policy = 'base@1' AND error IS NULL GROUP BY prompt_id)",
    )
    assert drawn["base@1", 1] == pytest.approx(share, abs=1e-3)
    assert drawn["base@1", 4] > drawn["base@1", 2] > drawn["base@1", 1]


def test_lengths_count_every_reply_and_mark_the_truncated(made_up: Path, open_page: Open) -> None:
    app = open_page(made_up, "lengths", stage="rl_rollout")
    bars = rows(app, "Length")
    replies, cut = ask(
        made_up,
        "SELECT count(*), count(*) FILTER (WHERE finish_reason = 'length') FROM trajectories "
        "WHERE stage = 'rl_rollout' AND error IS NULL",
    )[0]
    assert sum(bar["replies"] for bar in bars) == replies
    assert sum(bar["replies"] for bar in bars if bar["told"] == "truncated") == cut > 0
    rewards = rows(app, "Reward against length")
    assert len(rewards) == replies
    assert any(point["told"] == "truncated" for point in rewards)


def test_a_check_s_score_can_stand_against_length(made_up: Path, open_page: Open) -> None:
    points = rows(open_page(made_up, "lengths", stage="reasoning", against="language_mix"), "Score of")
    assert {p["id"] for p in points} == {
        i
        for (i,) in ask(
            made_up,
            "SELECT trajectory_id FROM verdicts_current JOIN trajectories USING (trajectory_id) "
            "WHERE \"check\" = 'language_mix' AND score IS NOT NULL AND stage = 'reasoning'",
        )
    }


def test_stretches_in_another_language_are_counted_by_replies(made_up: Path, open_page: Open) -> None:
    cells = rows(open_page(made_up, "languages", stage="reasoning"), "Replies with a stretch")
    assert {cell["prompted"] for cell in cells} == {"zh", "fr"}
    assert all(0 < cell["share"] <= 1 for cell in cells)


def test_a_judge_s_confusion_is_that_of_the_view_and_lists_its_replies(made_up: Path, open_page: Open) -> None:
    app = open_page(made_up, "judges")
    cells = {v["cell"]: v["n"] for v in rows(app, "strict_judge and the rules")}
    (row,) = ask(made_up, "SELECT both_pass, judge_only, rule_only, both_fail FROM judge_agreement")
    assert (cells["both_pass"], cells["judge_only"], cells["rule_only"], cells["both_fail"]) == row
    assert len(app.dataframe[-1].value) == min(100, row[1])


def test_a_mix_is_told_by_rows_and_by_tokens(made_up: Path, open_page: Open) -> None:
    app = open_page(made_up, "mixes", by="stage")
    bars = rows(app, "demo@1 by stage")
    for measure in ("rows", "rows times weight", "tokens times weight"):
        assert sum(bar["share"] for bar in bars if bar["measure"] == measure) == pytest.approx(1)
    narrowed = open_page(made_up, "mixes", by="stage", split="validation").dataframe[0].value
    assert 0 < narrowed["rows"].sum() < app.dataframe[0].value["rows"].sum()


def test_a_price_makes_a_cost_for_each_kept_reply(made_up: Path, open_page: Open) -> None:
    free = open_page(made_up, "cost").dataframe[0].value
    assert "usd" not in free
    paid = open_page(made_up, "cost", usd_out="2").dataframe[0].value
    first = paid.iloc[0]
    assert first.usd == pytest.approx(first.reply_tokens * 2 / 1e6)
    assert first.usd_per_kept == pytest.approx(first.usd / first.kept)
    judged = open_page(made_up, "cost", usd_out="2").dataframe[1].value
    ((asked,),) = ask(made_up, "SELECT count(*) FROM verdicts WHERE kind = 'judge'")
    assert list(judged["requests"]) == [asked]


def test_curves_lay_trainings_over_each_other(made_up: Path, open_page: Open) -> None:
    app = open_page(made_up, "curves")
    points = rows(app, "eval/pass@1")
    assert len({p["training"] for p in points}) == 2
    assert sorted({p["step"] for p in points}) == list(STEPS)
    told = ask(
        made_up,
        "SELECT sum(value * n) / sum(n) FROM curves WHERE name = 'eval/pass@1' AND step = 400 GROUP BY run_id",
    )
    drawn = {p["value"] for p in points if p["step"] == 400}
    assert sorted(drawn) == pytest.approx(sorted(v for (v,) in told))


def test_a_training_s_curves_can_be_told_by_source(made_up: Path, open_page: Open) -> None:
    points = rows(open_page(made_up, "curves", by_source="true"), "eval/pass@1")
    assert {p["part"] for p in points} == {s for (s,) in ask(made_up, "SELECT DISTINCT source FROM prompts")}


def test_a_long_training_is_drawn_by_few_points(tmp_path: Path, open_page: Open) -> None:
    from schemas.records import Metric, now

    warehouse = Warehouse.open(tmp_path / "w", create=True)
    points = [Metric(run_id="r", step=s, name="train/loss", value=float(s), created_at=now()) for s in range(1000)]
    warehouse.append("metrics", points)
    checkpoint = warehouse.path / "checkpoints" / "long-r"
    checkpoint.mkdir(parents=True)
    (checkpoint / "training.json").write_text('{"key": "r", "name": "long"}')
    drawn = rows(open_page(warehouse.path, "curves"), "train/loss")
    assert {p["training"] for p in drawn} == {"long r"}
    assert len(drawn) <= 300
    assert min(p["low_value"] for p in drawn) == 0
    assert max(p["high_value"] for p in drawn) == 999


def test_a_folder_that_is_no_warehouse_gets_one_clear_line(tmp_path: Path, open_page: Open) -> None:
    app = open_page(tmp_path / "none", "overview")
    assert "no warehouse here" in app.code[0].value


def test_queries_are_answered_from_memory_until_a_table_they_read_changes(made_up: Path, tmp_path: Path) -> None:
    from schemas.records import Run, now

    warehouse = Warehouse.open(tmp_path / "w", create=True)
    sql = "SELECT count(*) FROM runs_current"

    def count() -> Any:
        return View(warehouse.path).scalar(sql)

    assert count() == 0
    before = View(warehouse.path).versions(sql)
    warehouse.append("runs", [Run(run_id="r", event="started", recipe="x", config="{}", created_at=now())])
    assert View(warehouse.path).versions(sql) != before
    assert count() == 1
    # Rows of other tables are no reason to ask again.
    asked = View(warehouse.path).versions(sql)
    assert [table for table, _ in asked] == ["runs"]


def test_an_answer_is_bounded_and_says_so(made_up: Path) -> None:
    found = View(made_up).table("SELECT trajectory_id FROM trajectories", most=7)
    assert len(found.rows) == 7
    assert found.cut
    assert not View(made_up).table("SELECT 1 FROM prompts LIMIT 7", most=7).cut


def test_a_look_sees_one_version_of_a_table(tmp_path: Path) -> None:
    from schemas.records import Run, now

    warehouse = Warehouse.open(tmp_path / "w", create=True)
    view = View(warehouse.path)
    assert view.scalar("SELECT count(*) FROM runs") == 0
    warehouse.append("runs", [Run(run_id="r", event="started", recipe="x", config="{}", created_at=now())])
    assert view.scalar("SELECT count(*) AS n FROM runs") == 0


def test_links_carry_their_state_whatever_stands_in_it(made_up: Path) -> None:
    link = View(made_up).link("rows", source=HOSTILE, stage="eval", policy=None, check="")
    assert parse_qs(urlsplit(link).query) == {"source": [HOSTILE], "stage": ["eval"]}
    assert urlsplit(link).path == "rows"
