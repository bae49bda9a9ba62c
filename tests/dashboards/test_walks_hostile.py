"""Hostile text, names and addresses in both apps: shown as text or refused; nothing is run, fetched or told."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("streamlit")

from schemas.keys import key
from schemas.records import Message, Prompt, Trajectory, Verdict, now
from tests.dashboards.walking import Running, Window, rows_of, small, write_queue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Windows = Callable[..., Window]

RUNS = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'><svg onload='window.ran = 1'></svg>"
LOADS = "![picture](http://outside.example/a.png) [link](http://outside.example/b) <http://outside.example/c>"
ACTS = "\x1b[31mred\x1b[0m \u202egnp.exe\u202c \u2066x\u2069 zero\u200bwidth"
BREAKS = (
    "</textarea></pre></div></style><style>body {display: none} @import url('http://outside.example/d.css')</style>"
)
HOSTILE = " ".join((RUNS, LOADS, ACTS, BREAKS, "javascript:window.ran=1 :red[x] $a$ **b** {{7*7}} ${7*7}"))
#: Who has quotes and HTML for a name, and a formula of a spreadsheet.
NAME = '=O\'Hara "<b onmouseover=alert(1)>" <img src=http://outside.example/n.png onerror=alert(1)>'
TAMPERED = ("<script>alert(1)</script>", "'; DROP TABLE reviews; --", "../../etc/passwd", "\u202e", "%00", "x" * 3000)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small warehouse with one hostile prompt and reply more, and one of thousands of formulas."""
    warehouse = small(tmp_path_factory.mktemp("hostile") / "w", prompts=4)
    prompt = Prompt.make(
        [Message(role="user", content=HOSTILE)], domain="math", source=HOSTILE[:90], reference=RUNS, verifier="math"
    )
    paragraph = "word " * 1_000_000
    texts = {
        "evil": f"<think>\n{HOSTILE}\n\n{BREAKS}\n</think>\n{HOSTILE} \\boxed{{{RUNS}}}",
        "formulas": "<think>\n"
        + "".join(f"$x_{{{i}}}$ \\(y\\) \\[z\\] $$w$$\n\n" for i in range(3000))
        + "</think>\n7",
        "long": f"<think>\n{paragraph}\n</think>\n7",
    }
    rows = [
        Trajectory(
            trajectory_id=key("hostile", name), prompt_id=prompt.prompt_id, stage="reasoning", policy=f"p {RUNS}@1",
            engine="import", sampling="{}", sample_index=i, rendered_key="k", text=text, answer=text[-400:],
            finish_reason="stop", prompt_tokens=3, completion_tokens=9, run_id="run", created_at=now(),
        )
        for i, (name, text) in enumerate(texts.items())
    ]  # fmt: skip
    told = [
        Verdict(
            trajectory_id=row.trajectory_id, attempt=1, check=check, version=RUNS, kind="filter", outcome="fail",
            reason=HOSTILE, details='{"spans": [[8, 60, "<b>what</b>"]], "said": "<script>window.ran = 1</script>"}',
            run_id="run", created_at=now(),
        )
        for row in rows
        for check in ("format", "made_up<img src=x onerror=window.ran=1>")
    ]  # fmt: skip
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", rows)
    warehouse.append("verdicts", told)
    for name in texts:
        write_queue(warehouse.path, name, 2, sql=f"SELECT '{key('hostile', name)}' AS trajectory_id")
    access = warehouse.path / "access.yaml"
    access.write_text("identity: header\ndefault_roles: [annotator, adjudicator, lead]\n")
    return warehouse.path


def unharmed(one: Window) -> None:
    one.unharmed()
    assert not one.page.evaluate("window.ran")
    assert one.page.evaluate("getComputedStyle(document.body).display") == "block"
    # Nothing in either tree that could load or run: no picture, script or handler that came from a text.
    found = one.page.evaluate(
        "() => { const all = [document, ...[...document.querySelectorAll('*')].map(e => e.shadowRoot).filter(Boolean)];"
        " return all.flatMap(d => [...d.querySelectorAll('*')]).filter(e =>"
        " [...e.attributes].some(a => a.name.startsWith('on') || /^(src|href|action|style|data)$/.test(a.name) &&"
        " /^(http:..outside|javascript:)/.test(a.value))).map(e => e.outerHTML.slice(0, 200)) }"
    )
    assert found == []


def settled(one: Window) -> None:
    one.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    one.page.wait_for_timeout(500)


def test_a_hostile_reply_is_text_before_a_hostile_name(team: str, window: Windows) -> None:
    one = window().open(f"{team}/sign-in?name={quote(NAME)}")
    one.says(NAME)
    one.open(f"{team}/?queue=evil").task()
    shown = one.page.locator(".screen .body").inner_text()
    for part in ("<script>window.ran = 1</script>", "![picture](http://outside.example/a.png)", "</textarea></pre>"):
        assert part in shown and part in one.problem()
    assert "\x1b" not in shown and "\u202e" not in shown and "\u200b" not in shown
    one.press("v", "v", "v", "m", "b", "a", "Shift+o", "Shift+o", "g", "?", "Escape", "Escape")
    one.press("e", "Control+End")
    one.write(RUNS)
    one.page.locator(".screen .changes ins").first.wait_for()
    one.press("Escape", "n")
    one.write(HOSTILE.replace("\x1b", "").replace("\u202e", ""))
    one.saved()
    unharmed(one)
    one.open(f"{team}/mine").says("Drafts · 1")
    one.page.locator("[data-testid=stExpander] summary").first.click()
    one.says("<script>window.ran = 1</script>")
    unharmed(one)
    one.open(f"{team}/?queue=evil").page.locator(".screen .pen textarea").wait_for()
    one.press("Escape", "Control+Enter")
    one.says("Nothing waits for you")
    for page, words in (
        ("mine", "Said · 1"), ("progress", "Done today"), ("agreement", "Agreement"),
        ("against", "People against"), ("events", "1 events"), ("bulk", "What is to be done"),
    ):  # fmt: skip

        def there(page: str = page, words: str = words) -> bool:
            one.open(f"{team}/{page}")
            settled(one)
            return words in one.text()

        one.wait(there, f"{page} does not say {words}", 120)
        assert not one.page.locator("[data-testid=stException]").count(), page
        unharmed(one)


def test_thousands_of_formulas_and_five_megabytes_in_one_paragraph(team: str, window: Windows) -> None:
    one = window().open(f"{team}/sign-in?name=ann")
    one.open(f"{team}/?queue=formulas").task()
    assert one.page.locator(".screen math").count() > 100
    one.press("a")
    one.page.locator(".screen .row.here").wait_for()
    one.press("y")
    one.says("Nothing waits for you")
    one.open(f"{team}/?queue=long").task()
    one.press("n")
    one.write("too long")
    one.saved()
    one.press("Escape", "x", "1", "Enter")
    one.says("Nothing waits for you")
    unharmed(one)


def test_tampered_addresses_of_the_review_app(team: str, warehouse: Path, window: Windows) -> None:
    ann = window().open(f"{team}/sign-in?name=ann")
    ann.open(f"{team}/?queue=one").task()
    held, problem = ann.page.url, ann.problem()
    ben = window().open(f"{team}/sign-in?name=ben")
    # Whatever an address says of another's item, one is given one's own.
    ident = rows_of(warehouse, "SELECT trajectory_id FROM trajectories WHERE stage = 'cold_start' ORDER BY 1 LIMIT 1")
    for query in (f"queue=one&item={ident[0][0]}&id={ident[0][0]}&task=one/{ident[0][0]}/1/0", held.split("?")[1]):
        ben.open(f"{team}/?{query}").task()
        assert ben.problem() != problem
    for value in TAMPERED:
        ben.open(f"{team}/?queue={quote(value)}")
        ben.says("The queue of this address is not one of yours")
        for page in ("agreement?queue=", "events?event-queue=", "events?older=", "progress?queue="):
            ben.open(f"{team}/{page}{quote(value)}")
            settled(ben)
            assert not ben.page.locator("[data-testid=stException]").count(), page
        unharmed(ben)
    assert rows_of(warehouse, "SELECT count(*) FROM reviews") == [(0,)]


def test_hostile_rows_in_the_dashboard(explore: Running, window: Windows) -> None:
    one = window().open(f"{explore.url}/rows?text=script")
    one.says("with these words")
    one.page.locator(".passages article").first.wait_for()
    assert "<script>window.ran = 1</script>" in one.text()
    unharmed(one)
    one.open(f"{explore.url}/trajectory?id={key('hostile', 'evil')}").says("How it was made")
    one.says("<script>window.ran = 1</script>")
    one.page.get_by_text("Whole reasoning").click()
    settled(one)
    unharmed(one)
    for name in ("formulas", "long"):
        one.open(f"{explore.url}/trajectory?id={key('hostile', name)}").says("How it was made")
        unharmed(one)
    column = '"<img src=x onerror=window.ran=1>"'
    sql = f"SELECT text, policy, (SELECT max(source) FROM prompts) AS {column}, sample_index FROM trajectories"
    for more in ("", "&kind=bar"):
        one.open(f"{explore.url}/sql?q={quote(sql)}{more}")
        settled(one)
        unharmed(one)
    for page in (
        "",
        "yields",
        "passes",
        "lengths",
        "languages",
        "judges",
        "cost",
        "rows",
        "mixes",
        "snapshots",
        "curves",
    ):
        one.open(f"{explore.url}/{page}")
        settled(one)
        unharmed(one)
        assert not one.page.locator("[data-testid=stException]").count(), page


def test_tampered_addresses_of_the_dashboard(explore: Running, warehouse: Path, window: Windows) -> None:
    one = window()
    for value in TAMPERED:
        for address in (
            "trajectory?id=", "rows?text=", "rows?after=", "rows?part=", "rows?stage=", "rows?kept=", "rows?run=",
            "sql?name=", "sql?q=", "yields?yields_stage=", "snapshots?snapshot=", "curves?curves_run=",
        ):  # fmt: skip
            one.open(f"{explore.url}/{address}{quote(value)}")
            settled(one)
            assert not one.page.locator("[data-testid=stException]").count(), address + value[:40]
        unharmed(one)
    for sql in ("DROP TABLE reviews", "COPY prompts TO '/tmp/x.csv'", "SELECT * FROM read_csv('/etc/passwd')",
                "SELECT * FROM read_csv('http://outside.example/x.csv')", "INSTALL httpfs"):  # fmt: skip
        one.open(f"{explore.url}/sql?q={quote(sql)}")
        settled(one)
        assert "root:" not in one.text() and "rows ·" not in one.text()
    unharmed(one)
    assert rows_of(warehouse, "SELECT count(*) FROM trajectories")[0][0] == 11
