"""Walks through the apps as people take them: the real commands, a real browser, a small warehouse."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")

from tests.dashboards.walking import (
    DOUBT,
    JUDGE,
    POLICY,
    Running,
    Window,
    rows_of,
    serving,
    small,
    write_queue,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Windows = Callable[..., Window]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("walks") / "w").path


@pytest.fixture
def alone(warehouse: Path) -> Iterator[Running]:
    """`dataengine review`, on one's own machine."""
    with serving("review", warehouse, "--user", "ann") as running:
        yield running


@pytest.fixture
def person(team: str, window: Windows) -> Callable[..., Window]:
    """A window of somebody who has signed in, at a queue."""

    def signed_in(name: str, queue: str = "") -> Window:
        made = window().open(f"{team}/sign-in?name={name}")
        made.says(name)
        return made.open(f"{team}/?queue={queue}").task() if queue else made

    return signed_in


# -- A: one person, from the first look to the undo


def test_signing_in(team: str, person: Callable[..., Window], window: Windows) -> None:
    nobody = window().open(team)
    nobody.says("You came past the proxy")
    assert not nobody.page.locator(".screen").count()
    stranger = window().open(f"{team}/sign-in?name=mallory")
    stranger.says("no role here")
    assert not stranger.page.locator(".screen").count()
    ann, ben = person("ann", "one"), person("ben", "one")
    assert "annotator" in ann.text() and ann.problem() != ben.problem()
    assert "Agreement" not in ann.page.locator("[data-testid=stSidebarNav]").inner_text()


def test_a_task_by_the_keyboard_alone(alone: Running, warehouse: Path, window: Windows) -> None:
    ann = window().open(f"{alone.url}/?queue=one").task()
    ann.says("Nobody signed in")
    first, problem = ann.page.locator(".screen .body").inner_text(), ann.problem()
    # Reading: jumps, folding, the views.
    for key, hit in (("b", "box"), ("w", "Wait"), ("a", "")):
        ann.press(key)
        ann.page.locator(".screen .row.here").wait_for()
        if hit:
            ann.page.locator(".screen .hit").wait_for()
    ann.press("Shift+o")
    rows = ann.page.locator(".screen .row").count()
    assert ann.page.locator(".screen .row.folded").count() == rows > 4
    ann.press("Shift+o")
    assert ann.page.locator(".screen .row.folded").count() == 0
    assert ann.page.locator(".screen .row .ex").first.is_visible()
    assert ann.page.locator(".screen math").first.is_visible()
    ann.press("v")
    assert not ann.page.locator(".screen .row .re").first.is_visible()
    ann.press("v")
    assert not ann.page.locator(".screen .row:not(.raw) .ex").first.is_visible()
    ann.press("v", "?")
    ann.says("Undo the last decision")
    ann.press("Escape")
    # Writing, with a reload in the middle.
    ann.press("e", "Control+Home")
    ann.write("I begin. ")
    ann.press("Escape", "n")
    ann.write("a better start")
    ann.saved()
    ann.page.reload()
    ann.page.locator(".screen .pen textarea").wait_for()
    assert ann.problem() == problem
    text = ann.editor()
    assert text.startswith("I begin. <think>") and ann.note() == "a better start"
    assert ann.page.locator(".screen .changes ins").first.inner_text().strip() == "I begin."
    ann.press("Control+Enter")
    ann.done(1)
    assert ann.page.locator(".screen .body").inner_text() != first
    ann.says("Your edit:", seconds=240)
    ann.says("checks pass", seconds=10)
    # One more, and it is taken back.
    second = ann.problem()
    ann.press("y")
    ann.done(2)
    ann.press("u")
    ann.done(1)
    assert ann.problem() == second
    ann.unharmed()
    alone.end()
    said = rows_of(warehouse, "SELECT reviewer, verdict, text, note FROM reviews ORDER BY number")
    assert said[0] == ("ann", "edit", text, "a better start")
    assert [row[1] for row in said] == ["edit", "approve", "withdraw"]
    (edit,) = rows_of(warehouse, "SELECT text, policy, kept FROM trajectory_facts WHERE engine = 'review'")
    assert edit[0] == text and edit[1].startswith("human:ann")
    assert len(rows_of(warehouse, "FROM reviews_current WHERE NOT by_editing")) == 1


def test_an_answer_that_an_edit_changes_is_told_before(alone: Running, window: Windows) -> None:
    ann = window().open(f"{alone.url}/?queue=one").task()
    ann.press("e", "Control+End")
    ann.write("\\boxed{12345}")
    ann.says("final answer changes")
    ann.says("12345")


# -- B: two browsers on one item


@pytest.fixture
def single(warehouse: Path) -> None:
    """Queues of one item: `last` for one person, `both` for two."""
    sql = "SELECT trajectory_id FROM trajectory_facts WHERE kept AND stage = 'reasoning' ORDER BY trajectory_id LIMIT 1"
    write_queue(warehouse, "last", 1, sql=sql)
    write_queue(warehouse, "both", 2, sql=sql)


@pytest.mark.usefixtures("single")
class TestOneItem:
    def test_it_is_never_before_more_people_than_the_queue_says(
        self, team: str, person: Callable[..., Window], warehouse: Path
    ) -> None:
        ann, ben, zoe = person("ann", "last"), person("ben"), person("zoe-the-first")
        ben.open(f"{team}/?queue=last").says("Nothing waits for you")
        ben.open(f"{team}/?queue=both").task()
        zoe.open(f"{team}/?queue=both").task()
        assert ann.problem() == ben.problem() == zoe.problem()
        ann.open(f"{team}/?queue=both").says("Nothing waits for you")
        for one in (ben, zoe):
            one.press("y")
            one.says("Nothing waits for you")
        ann.press("n")
        ann.says("Nothing waits for you")
        ann.open(f"{team}/?queue=last").task().press("y")
        ann.says("Nothing waits for you")

        def said() -> list[Any]:
            return rows_of(warehouse, "SELECT queue, reviewer, verdict FROM reviews ORDER BY ALL")

        ann.wait(lambda: len(said()) == 3, "what was said is not in the tables")
        assert said() == [
            ("both", "ben", "approve"),
            ("both", "zoe-the-first", "approve"),
            ("last", "ann", "approve"),
        ]

    def test_a_stale_edit_is_told_and_both_are_kept(
        self, team: str, person: Callable[..., Window], warehouse: Path
    ) -> None:
        ann, ben = person("ann", "both"), person("ben", "both")
        for one, words in ((ann, "This is of ann. "), (ben, "This is of ben. ")):
            one.press("e", "Control+Home")
            one.write(words)
            one.saved()
        ann.press("Control+Enter")
        ann.says("Nothing waits for you")
        ben.press("Control+Enter")
        conflict = ben.page.locator(".screen .conflict")
        conflict.get_by_text("Somebody else edited this reply").wait_for()
        assert ben.editor().startswith("This is of ben. <think>")
        conflict.locator("summary").click()
        conflict.get_by_text("This is of ann.").wait_for()
        ben.press("Control+Enter")
        ben.says("Nothing waits for you")

        def edits() -> list[Any]:
            return rows_of(warehouse, "SELECT text, parent_id FROM trajectories WHERE engine = 'review' ORDER BY text")

        ben.wait(lambda: len(edits()) == 2, "one of the two edits is not there", 120)
        (one, parent), (other, same) = edits()
        assert (one[:16], other[:16], parent) == ("This is of ann. ", "This is of ben. ", same)

    def test_two_windows_of_one_person_never_overwrite_each_other(
        self, team: str, person: Callable[..., Window], window: Windows
    ) -> None:
        left = person("ann", "last")
        right = window(beside=left).open(f"{team}/?queue=last").task()
        left.press("n")
        left.write("from the left")
        left.saved()
        right.press("n")
        right.write("from the right")
        conflict = right.page.locator(".screen .conflict")
        conflict.get_by_text("Another window").wait_for()
        assert right.note() == "from the right" and left.note() == "from the left"
        conflict.get_by_role("button", name="Keep what is here").click()
        right.saved()
        left.page.reload()
        left.task()
        assert left.note() == "from the right"


# -- C: every word that can be said, and what nobody may know before


def test_every_word_that_can_be_said(team: str, person: Callable[..., Window], warehouse: Path) -> None:
    ann = person("ann", "one")
    ann.press("x", "1", "2", "Enter")
    ann.done(1)
    ann.press("f")
    ann.write("the reference is wrong")
    ann.press("Control+Enter")
    ann.done(2)
    before = ann.problem()
    ann.press("s")
    ann.wait(lambda: ann.problem() != before, "it was not skipped")
    ann.open(f"{team}/?queue=sides").task()
    for number, key in enumerate("hlt", 1):
        ann.press(key)
        ann.done(number)

    def said(columns: str) -> list[Any]:
        return rows_of(warehouse, f"SELECT {columns} FROM reviews ORDER BY number")

    ann.wait(lambda: len(said("number")) == 5, "what was said is not in the tables")
    assert said("verdict, tags, note")[:2] == [
        ("reject", ["wrong_step", "gap"], ""),
        ("flag", [], "the reference is wrong"),
    ]
    sides = {"prefer_a": {True: "left", False: "right"}, "prefer_b": {True: "right", False: "left"}}
    pairs = said("verdict, a_first, pair_id")[2:]
    assert [sides.get(verdict, {}).get(a_first, "tie") for verdict, a_first, _ in pairs] == ["left", "right", "tie"]
    assert all(a_first is not None and pair for _, a_first, pair in pairs)
    # What was flagged waits for an adjudicator, who sees what was said and decides alone.
    judy = person("judy")

    def is_there() -> bool:
        judy.open(f"{team}/?queue=adjudicate").says("done by you")
        return bool(judy.page.locator(".screen .row").count())

    judy.wait(is_there, "nothing waits for the adjudicator", 120)
    judy.says("the reference is wrong")
    assert "ann" in judy.page.locator(".screen .side").inner_text()
    judy.press("n")
    judy.write("it is right")
    judy.press("Escape", "y")
    judy.says("Nothing waits for you")
    judy.wait(lambda: len(said("number")) == 6, "the adjudicator's word is not in the tables")
    assert said("reviewer, verdict, role")[-1] == ("judy", "approve", "adjudicator")
    told = "SELECT v.outcome FROM verdicts_current v JOIN reviews r USING (trajectory_id) WHERE v.check = 'human' AND "
    judy.wait(lambda: rows_of(warehouse, told + "r.verdict = 'flag'") == [("pass",)], "it does not decide", 120)


def test_nobody_knows_policy_judge_or_others_before_they_have_said(team: str, person: Callable[..., Window]) -> None:
    first = person("zoe-the-first", "two")
    first.press("n")
    first.write("a private note")
    first.press("Escape", "x", "1", "Enter")
    first.done(1)
    ben = person("ben", "two")
    ben.press("?", "Escape", "g", "g", "v", "v", "v", "w", "e", "Escape", "Escape")
    ben.open(f"{team}/?queue=sides").task()
    told = ben.text().encode() + b"".join(ben.frames)
    # What may be known is in what was looked through.
    for known in ("Wait, let me look at that again.", "math", "reasoning"):
        assert known.encode() in told
    for secret in (POLICY, "unseen-policy", JUDGE, DOUBT, "0.4242", "zoe-the-first", "a private note"):
        assert secret.encode() not in told, secret


# -- D: the lead


def test_the_lead_sees_how_far_two_people_agree(
    team: str, person: Callable[..., Window], warehouse: Path, tmp_path: Path
) -> None:
    people = [person(name, "two") for name in ("ann", "ben")]
    # Six items: ann approves four of them, ben three of those.
    words: dict[str, str] = {}
    for number in range(1, 7):
        for who, one in zip(("ann", "ben"), people, strict=True):
            place = list(words).index(one.problem()) if one.problem() in words else len(words)
            words.setdefault(one.problem(), who)
            if place < (4 if who == "ann" else 3):
                one.press("y")
            else:
                one.press("x", "1", "Enter")
            one.done(number)
    assert len(words) == 6
    lea = person("lea")

    def agreement() -> bool:
        lea.open(f"{team}/agreement?queue=two").says("Agreement")
        metrics = lea.page.locator("[data-testid=stMetricValue]")
        return metrics.count() == 3 and lea.text().count("n = 6 items") == 3

    lea.wait(lambda: len(rows_of(warehouse, "FROM reviews")) == 12, "what was said is not in the tables")
    lea.wait(agreement, "the lead's page has no figures", 120)
    # 5 of 6 are the same. Fleiss: chance is (7/12)^2 + (5/12)^2. Alpha: 2 of 12 differ, 2 * 7 * 5 of 12 * 11 by chance.
    percent, chance = 5 / 6, (7**2 + 5**2) / 12**2
    fleiss, alpha = (percent - chance) / (1 - chance), 1 - (2 / 12) / (2 * 7 * 5 / (12 * 11))
    shown = lea.page.locator("[data-testid=stMetricValue]").all_inner_texts()
    assert shown == [f"{value:.2f}" for value in (percent, fleiss, alpha)]
    assert lea.page.url.endswith("/agreement?queue=two")
    for name, words_ in (
        ("progress", "Done today"),
        ("against", "People against judges and rules"),
        ("events", "12 events"),
    ):
        lea.open(f"{team}/{name}").says(words_)
    with lea.page.expect_download() as download:
        lea.page.get_by_role("button", name="JSONL").click()
    file = tmp_path / "events.jsonl"
    download.value.save_as(file)
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted((e["reviewer"], e["verdict"]) for e in events) == sorted(
        [("ann", "approve")] * 4 + [("ann", "reject")] * 2 + [("ben", "approve")] * 3 + [("ben", "reject")] * 3
    )
    lea.unharmed()


def test_bulk_release_wants_the_count(team: str, person: Callable[..., Window]) -> None:
    ann, lea = person("ann", "one"), person("lea")
    problem = ann.problem()
    lea.open(f"{team}/bulk").page.get_by_role("radio", name="Release leases").click()
    lea.says("Of person")
    lea.page.get_by_role("button", name="Show what that is").click()
    lea.says("1 chosen")
    release = lea.page.get_by_role("button", name="Release 1")
    assert release.is_disabled()
    count = lea.page.get_by_label("Type 1 to confirm")
    count.fill("2")
    count.press("Enter")
    lea.page.wait_for_timeout(1000)
    assert release.is_disabled()
    count.fill("1")
    count.press("Enter")
    release.click()
    lea.says("1 released in one")
    ben = person("ben", "one")
    assert ben.problem() == problem


def test_pages_of_leads_are_for_leads(team: str, person: Callable[..., Window]) -> None:
    ann = person("ann")
    for name in ("progress", "agreement", "against", "events", "bulk"):
        ann.open(f"{team}/{name}")
        ann.page.get_by_text("not found").first.wait_for()
        assert not ann.page.get_by_role("heading", name=name.capitalize()).count()


# -- E: from the funnel to a review


def choose_row(page: Any, row: int = 0) -> None:
    """Chooses a row of the table at its left end."""
    table = page.locator(".stDataFrameGlideDataEditor").first
    table.wait_for()
    page.wait_for_timeout(500)
    table.click(position={"x": 15, "y": 36 + 38 * row + 19})


def test_from_the_funnel_to_the_reviewer(explore: Running, alone: Running, warehouse: Path, window: Windows) -> None:
    ann = window().open(explore.url)
    ann.says("applicable = pass + fail + undecided + error + pending")
    # A part of a bar of the funnel leads to its rows.
    chart = ann.page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
    chart.wait_for()
    link = ann.page.locator("[data-testid=stMain] a[href*='rows?']")

    def bar() -> bool:
        box = chart.bounding_box()
        for y in range(90, int(box["height"]) - 60, 14):
            chart.click(position={"x": box["width"] * 0.4, "y": y})
            ann.page.wait_for_timeout(300)
            if link.count():
                return True
        return False

    ann.wait(bar, "no bar of the funnel leads to rows", 120)
    link.first.click()
    ann.page.wait_for_url("**/rows?**")
    ann.says("trajectories")
    assert "stage=" in ann.page.url
    # The same view for somebody else, and after a reload; narrowed by words.
    ann.page.get_by_role("searchbox", name="Words in question").fill('"look at that again"')
    ann.page.get_by_role("searchbox", name="Words in question").press("Enter")
    ann.says("with these words")
    ann.page.wait_for_url("**text=**")
    count = next(line for line in ann.text().splitlines() if "with these words" in line).split(" · ")[0]
    other = window().open(ann.page.url)
    other.says(count)
    other.page.reload()
    other.says(count)
    search = other.page.get_by_role("searchbox", name="Words in question")
    other.wait(lambda: search.input_value() == '"look at that again"', "the words are not in their field")
    choose_row(ann.page, 1)
    ann.page.locator("[data-testid=stMain] a[href*='trajectory?id=']", has_text="open").click()
    ann.page.wait_for_url("**/trajectory?id=**")
    ann.says("How it was made")
    ident = ann.page.url.split("id=")[1][:64]
    for known in (POLICY, JUDGE, DOUBT if DOUBT in ann.text() else JUDGE, "Wait, let me look at that again."):
        assert known in ann.text()
    ann.page.get_by_role("button", name="Send to review").click()
    ann.says("1 sent to the queue sent")
    ann.page.reload()
    ann.says("How it was made")
    ben = window().open(f"{alone.url}/?queue=sent").task()
    (problem,) = rows_of(
        warehouse, "SELECT messages[-1].content FROM trajectory_facts WHERE trajectory_id LIKE ? || '%'", ident
    )
    assert problem[0][:20] in ben.problem()
    ben.press("y")
    ben.says("Nothing waits for you")
    ben.wait(lambda: rows_of(warehouse, "SELECT queue FROM reviews") == [("sent",)], "it is not in the tables")
    # What was said there is on the trajectory's page, without an export.
    ann.wait(lambda: ann.page.reload() or "People" in ann.text(), "the review is not on the page", 120)
    for one in (ann, other, ben):
        one.unharmed()


def test_every_page_of_the_dashboard_stands_and_its_address_can_be_sent(explore: Running, window: Windows) -> None:
    ann = window()
    pages = "overview yields passes lengths languages judges cost rows trajectory sql mixes snapshots curves"
    for name in pages.split():
        ann.open(f"{explore.url}/{'' if name == 'overview' else name}")
        ann.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        ann.page.locator("[data-testid=stMain] :is(h1, h2, input)").first.wait_for()
        assert not ann.page.locator("[data-testid=stException]").count(), name
    ann.open(f"{explore.url}/passes?passes_stage=cold_start").says("cold_start")
    ann.open(f"{explore.url}/sql?q=SELECT+42+AS+answer").says("SELECT 42 AS answer")
    ann.unharmed()


# -- kill -9


def test_a_killed_app_has_kept_what_was_written_and_said(warehouse: Path, window: Windows) -> None:
    with serving("review", warehouse, "--user", "ann") as app:
        ann = window().open(f"{app.url}/?queue=one").task()
        ann.press("n")
        ann.write("before")
        ann.saved()
        for letter in " and in the middle":
            ann.write(letter)
            if letter == "m":
                app.kill()
        app.start()
        ann.open(f"{app.url}/?queue=one").task()
        assert ann.note() == "before and in the middle"
        ann.saved()
        problem = ann.problem()
        # What the server holds is enough: another browser has it, too.
        again = window().open(f"{app.url}/?queue=one").task()
        assert (again.problem(), again.note()) == (problem, "before and in the middle")
        again.page.close()
        ann.press("Escape", "y")
        ann.done(1)
        app.kill()
        app.start()
        ann.open(f"{app.url}/?queue=one").task().done(1)
        assert ann.problem() != problem and ann.note() == ""
        said = "SELECT verdict, note FROM reviews"
        ann.wait(lambda: rows_of(warehouse, said), "what was said is not in the tables")
        assert rows_of(warehouse, said) == [("approve", "before and in the middle")]
        app.end()
        assert rows_of(warehouse, said) == [("approve", "before and in the middle")]
