"""The review screen in a real browser: nothing typed is lost, nothing hostile runs, no hand leaves the keyboard."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SCRIPT = Path(__file__).with_name("screen_app.py")
REPLY = "<think>\nFirst 3 + 4. Wait, is it?\n\nIt is 7, actually.\n</think>\nThe answer is \\(\\boxed{7}\\).\n"

pytestmark = pytest.mark.slow


class Desk:
    """One person at the screen: the page, and what the server has noted down."""

    def __init__(self, page: Any, log: Path) -> None:
        self.page = page
        self.log = log
        self.requests: list[str] = []
        self.troubles: list[str] = []
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("pageerror", lambda e: self.troubles.append(str(e)))
        page.on("dialog", self.dialog)

    def dialog(self, dialog: Any) -> None:
        self.troubles.append(dialog.message)
        dialog.dismiss()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def noted(self, kind: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [event[kind] for event in map(json.loads, lines) if kind in event]

    def wait(self, true: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + 20
        while not true():
            assert time.monotonic() < until, what
            self.page.wait_for_timeout(30)

    def acts(self, n: int) -> list[dict[str, Any]]:
        self.wait(lambda: len(self.noted("act")) >= n, f"{n} acts")
        return self.noted("act")

    def drafts(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        self.wait(lambda: any(map(true, self.noted("draft"))), "a draft")
        return self.noted("draft")[-1]

    def position(self, text: str) -> None:
        self.page.locator(".screen .position", has_text=text).wait_for(timeout=20_000)

    def focused(self) -> str:
        return str(
            self.page.evaluate(
                "() => { let a = document.activeElement;"
                " while (a?.shadowRoot?.activeElement) a = a.shadowRoot.activeElement; return a?.className ?? '' }"
            )
        )


@pytest.fixture
def desk(browser: Any, app: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    contexts = []

    def sit_down(*tasks: dict[str, Any], wait: str = ".screen .row", **context: Any) -> Desk:
        listed = [{"id": i, "problem": "What is 3 + 4?", "text": REPLY, **t} for i, t in enumerate(tasks)]
        (tmp_path / "tasks.json").write_text(json.dumps(listed))
        url = app(SCRIPT, (str(tmp_path / "tasks.json"), str(tmp_path / "log.jsonl")))
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 800}, **context))
        made = Desk(contexts[-1].new_page(), tmp_path / "log.jsonl")
        made.page.goto(url)
        made.page.locator(wait).first.wait_for(timeout=60_000)
        return made

    yield sit_down
    for context in contexts:
        context.close()


def test_the_whole_way_without_a_mouse(desk: Callable[..., Desk]) -> None:
    at = desk({}, {}, {}, {}, {"b": "Other."}, {})
    at.press("y")
    at.position("1 done")
    at.press("x", "Enter")  # a reason is asked for first
    at.press("2", "Enter")
    at.position("2 done")
    at.press("f")
    at.page.keyboard.type("xyz? C and R and 1")
    at.press("Control+Enter")
    at.position("3 done")
    at.press("e")
    at.page.keyboard.type("Edited. ")
    at.press("Escape", "n")
    at.page.keyboard.type("why")
    at.press("Control+Enter")
    at.position("4 done")
    at.page.locator(".screen .message", has_text="The answer changed").wait_for()
    at.press("l")
    at.position("5 done")
    at.press("s")
    at.page.locator(".screen.idle").wait_for()
    at.press("u")
    at.position("5 done")
    acts = at.acts(7)
    assert [a["do"] for a in acts] == ["approve", "reject", "flag", "edit", "right", "skip", "undo"]
    assert acts[1]["reasons"] == ["wrong_answer"] and acts[2]["note"] == "xyz? C and R and 1"
    assert acts[3]["text"] == "Edited. " + REPLY and acts[3]["note"] == "why"
    assert [a["text"] for a in acts if a["do"] != "edit"] == [None] * 6
    assert not at.troubles


def test_the_last_keystrokes_before_a_submit_are_in_it(desk: Callable[..., Desk]) -> None:
    at = desk({}, {})
    at.press("e")
    at.page.keyboard.insert_text("abc")
    at.page.keyboard.type("d")
    at.press("Control+Enter")
    at.position("1 done")
    act = at.acts(1)[0]
    assert (act["do"], act["text"]) == ("edit", "abcd" + REPLY)
    # The next task begins clean, also in this browser's own copy.
    at.press("e")
    assert at.page.locator(".screen .pen textarea").input_value() == REPLY
    assert at.page.evaluate("Object.keys(localStorage).filter(k => k.includes('draft'))") == []


def test_a_reload_in_the_middle_keeps_text_note_and_reasons(desk: Callable[..., Desk]) -> None:
    at = desk({})
    at.press("e")
    at.page.keyboard.type("New ")
    at.press("Escape", "n")
    at.page.keyboard.type("half a no")
    at.press("Escape", "1")
    at.page.reload()  # within the time that drafts wait before they are sent
    at.page.locator(".screen .pen textarea").wait_for(timeout=60_000)
    assert at.page.locator(".screen .pen textarea").input_value() == "New " + REPLY
    assert at.page.locator(".screen .notes textarea").input_value() == "half a no"
    at.drafts(lambda d: d["text"] == "New " + REPLY and d["note"] == "half a no" and d["reasons"] == ["wrong_step"])
    at.page.locator(".screen .saved", has_text="Draft saved").wait_for()
    # What the server holds is enough: a browser that never saw this task shows it too.
    at.page.evaluate("localStorage.clear()")
    at.page.reload()
    at.page.locator(".screen .pen textarea").wait_for(timeout=60_000)
    assert at.page.locator(".screen .notes textarea").input_value() == "half a no"


def test_drafts_reach_the_server_while_somebody_types_on(desk: Callable[..., Desk]) -> None:
    at = desk({})
    at.press("e")
    for _ in range(40):
        at.page.keyboard.type("ab")
        at.page.wait_for_timeout(60)
    assert at.noted("draft"), "no draft before the first pause"
    at.drafts(lambda d: d["text"] == "ab" * 40 + REPLY)
    assert at.page.locator(".screen .pen textarea").input_value() == "ab" * 40 + REPLY
    assert "textarea" in at.page.evaluate("document.activeElement.shadowRoot.activeElement.tagName.toLowerCase()")


def test_letters_typed_into_fields_are_no_keys(desk: Callable[..., Desk]) -> None:
    at = desk({}, {})
    at.press("n")
    at.page.keyboard.type("yxsfulht.?crCR")
    assert at.noted("act") == []
    assert at.page.locator(".screen .notes textarea").input_value() == "yxsfulht.?crCR"
    at.press("Escape")
    assert at.focused() == "body"
    at.press("?")
    at.page.locator(".screen .sheet").wait_for()
    at.press("y")
    assert at.page.locator(".screen .sheet").is_visible()
    at.press("Escape", "y")
    at.position("1 done")
    assert [a["do"] for a in at.acts(1)] == ["approve"]


def test_a_key_that_is_held_down_decides_once(desk: Callable[..., Desk]) -> None:
    at = desk(*[{}] * 6)
    for _ in range(6):
        at.page.keyboard.down("y")
    at.page.keyboard.up("y")
    at.position("1 done")
    at.page.wait_for_timeout(600)
    assert len(at.noted("act")) == 1


def test_jumps_folds_and_views(desk: Callable[..., Desk]) -> None:
    text = (
        "<think>\n"
        + "Some words here.\n\n" * 60
        + "Wait, no.\n\n"
        + "More.\n\n" * 60
        + "Actually yes.\n</think>\n# So\n\\boxed{7}"
    )
    start = text.index("Wait")
    at = desk({"text": text, "marks": [{"start": start, "end": start + 4, "what": "<b>odd</b>"}]})
    hit = at.page.locator(".screen .hit")
    at.press("w")
    assert hit.text_content() == "Wait" and hit.evaluate("e => e.checkVisibility()")
    at.press("w")
    assert hit.text_content() == "Actually"
    at.press("Shift+W")
    assert hit.text_content() == "Wait"
    at.press("b")
    assert hit.text_content() == "\\boxed"
    at.press("m")
    assert at.page.locator(".screen mark.hit").text_content() == "Wait"
    assert "<b>odd</b>" in at.page.locator(".screen .legend").inner_text()
    at.press("a")
    assert at.page.locator(".screen .row.here .re h1").text_content() == "So"
    at.press("Shift+O")
    folded, rows = at.page.locator(".screen .row.folded").count(), at.page.locator(".screen .row").count()
    assert folded == rows > 100
    at.press("w")
    assert at.page.locator(".screen .row.here:not(.folded)").count() == 1
    at.press("j", "j", "k", "o")
    assert at.page.locator(".screen .row:not(.folded)").count() == 2
    for view, exact, rendered in (("exact", True, False), ("rendered", False, True), ("side", True, True)):
        at.press("v")
        row = at.page.locator(".screen .row.here")
        assert (row.locator(".ex").is_visible(), row.locator(".re").is_visible()) == (exact, rendered), view


def test_an_edit_shows_its_changes_by_word(desk: Callable[..., Desk]) -> None:
    at = desk({"text": "one two <b>three</b>\nfour"})
    at.press("e")
    at.page.locator(".screen .pen textarea").fill("one 2 <b>three</b>\nfour \u202efive")
    at.page.locator(".screen .changes ins", has_text="\\u202efive").wait_for()
    assert at.page.locator(".screen .changes del").all_inner_texts() == ["two"]
    assert at.page.locator(".screen .changes b").count() == 0
    assert at.page.locator(".screen .actions .approve").inner_text().startswith("Save edit")
    at.press("Escape", "Shift+X", "Shift+X")
    assert at.acts(1)[0]["do"] == "discard_draft"
    at.page.locator(".screen .message", has_text="discarded").wait_for()
    at.press("e")
    assert at.page.locator(".screen .pen textarea").input_value() == "one two <b>three</b>\nfour"


def test_text_with_other_line_ends_is_not_edited_by_being_shown(desk: Callable[..., Desk]) -> None:
    at = desk({"text": "a\r\nb\r\n"}, {"text": "a\r\nb\r\n"}, {})
    at.press("e", "Escape", "Control+Enter")
    at.position("1 done")
    at.press("e")
    at.page.keyboard.type("x")
    at.press("Control+Enter")
    at.position("2 done")
    assert [(a["do"], a["text"]) for a in at.acts(2)] == [("approve", None), ("edit", "xa\r\nb\r\n")]


def test_another_window_is_a_conflict_with_both_texts_kept(desk: Callable[..., Desk]) -> None:
    at = desk({})
    other = Desk(at.page.context.browser.new_context().new_page(), at.log)
    other.page.goto(at.page.url)
    other.page.locator(".screen .row").first.wait_for(timeout=60_000)
    at.press("e")
    at.page.keyboard.type("mine ")
    at.drafts(lambda d: d["text"] == "mine " + REPLY)
    at.page.locator(".screen .saved", has_text="Draft saved").wait_for()
    other.press("e")
    other.page.keyboard.type("theirs ")
    other.page.locator(".screen .conflict", has_text="Another window").wait_for()
    assert other.page.locator(".screen .pen textarea").input_value() == "theirs " + REPLY
    assert at.noted("draft")[-1]["text"] == "mine " + REPLY, "overwritten unseen"
    other.page.locator(".screen .conflict button").first.click()
    assert other.page.locator(".screen .pen textarea").input_value() == "mine " + REPLY
    assert "theirs" in (other.page.locator(".screen .conflict pre").text_content() or "")
    other.page.context.close()


def test_a_hold_is_renewed_while_somebody_works(desk: Callable[..., Desk]) -> None:
    at = desk({"lease_until": time.time() + 60})
    at.press("j")
    assert at.acts(1)[0]["do"] == "renew"
    assert "held" in at.page.locator(".screen .lease").inner_text()
    at.press("y")
    at.acts(2)


def test_adjudication_shows_what_others_said(desk: Callable[..., Desk]) -> None:
    said = [
        {"reviewer": "an'na\"<b>", "verdict": "reject", "reasons": ["wrong_step"], "note": "<i>why</i>", "text": None},
        {"reviewer": "ben", "verdict": "edit", "reasons": [], "note": "", "text": REPLY.replace("7", "8")},
    ]
    at = desk({"said": said, "warn": "Two people disagree.", "conflict": "Changed by ben since."}, wait=".screen .pen")
    beside = at.page.locator(".screen .said")
    assert "an'na\"<b>" in beside.inner_text() and "<i>why</i>" in beside.inner_text()
    beside.locator("summary").click()
    assert beside.locator("ins").first.inner_text() == "8"
    assert at.page.locator(".screen .warn").inner_text() == "Two people disagree."
    assert "Changed by ben" in at.page.locator(".screen .conflict").inner_text()


HOSTILE = (
    "<script>window.pwned=1;fetch('http://evil.example/s')</script><img src=x onerror='window.pwned=2'>\n\n"
    "![x](http://evil.example/x.png) [y](javascript:window.pwned=3) <http://evil.example/z>\n\n"
    "\x1b[31mred\x1b[0m \u202eabc\u202c \x00\x07 a\u200bb\n\n"
    "\\(\\href{javascript:window.pwned=4}{x}\\) $\\style{background:url(http://evil.example/c)}{x}$ "
    "\\(\\text{</span><img src=http://evil.example/t onerror=window.pwned=5>}\\)\n\n"
    '<svg onload="window.pwned=6"><style>@import "http://evil.example/i";</style></svg>\n\n<iframe src=http://evil.example></iframe>'
)


def test_hostile_text_is_text_everywhere_and_fetches_nothing(desk: Callable[..., Desk]) -> None:
    evidence = [{"check": HOSTILE, "outcome": HOSTILE, "score": 0.5, "reason": HOSTILE}]
    said = [{"reviewer": HOSTILE, "verdict": HOSTILE, "reasons": [HOSTILE], "note": HOSTILE, "text": HOSTILE}]
    task = {
        "text": HOSTILE, "problem": HOSTILE, "reference": HOSTILE, "evidence": evidence, "said": said,
        "marks": [{"start": 3, "end": 400, "what": HOSTILE}], "warn": HOSTILE, "conflict": HOSTILE,
    }  # fmt: skip
    at = desk(task, {"text": HOSTILE, "b": HOSTILE}, wait=".screen .pen")
    for key in ("e", "g", "v", "v", "v", "j", "m", "Shift+O", "Shift+O", "e"):
        at.press(key)
    at.page.keyboard.type("<img src=http://evil.example/typed onerror=window.pwned=7>")
    at.page.locator(".screen .changes ins").first.wait_for()
    at.press("Escape", "e", "e", "Control+Enter")
    at.position("1 done")
    at.press("v")
    at.page.wait_for_timeout(500)
    assert at.page.evaluate("window.pwned") is None
    assert {urlsplit(u).hostname for u in at.requests if not u.startswith(("blob:", "data:"))} == {"127.0.0.1"}
    assert at.page.locator(".screen :is(script, img, iframe, svg, a, style, object, embed)").count() == 0
    assert at.acts(1)[0]["text"].startswith("<img src=http://evil.example/typed")
    assert not at.troubles


def test_what_hides_or_reorders_is_written_out(desk: Callable[..., Desk]) -> None:
    at = desk({"text": HOSTILE})
    for side in (".ex", ".re"):
        found = at.page.locator(f".screen .row {side} .esc").all_inner_texts()
        assert found == ["\\x1b[31m", "\\x1b[0m", "\\u202e", "\\u202c", "\\x00", "\\x07", "\\u200b"]
    assert "evil.example/x.png" in at.page.locator(".screen .row .re").nth(1).inner_text()


@pytest.mark.parametrize(
    "text",
    ["word and word " * 360_000, "x" * 5_000_000, "".join(f"\\[ \\frac{{{i}}}{{x_{i}}} \\]\n\n" for i in range(3_000))],
    ids=["5 MB paragraph", "5 MB word", "3,000 formulas"],
)
def test_huge_texts_open_scroll_and_submit(desk: Callable[..., Desk], text: str) -> None:
    at = desk({"text": text}, {})
    assert at.page.locator(".screen .limit").count() >= 1
    assert at.page.locator(".screen .row").count() < 5_000
    at.page.keyboard.press("End")
    at.press("k", "j")
    shown = "".join(at.page.locator(".screen .row > .ex").evaluate_all("all => all.map(e => e.textContent)"))
    assert shown == text
    at.press("y")
    at.position("1 done")
    assert at.acts(1)[0]["do"] == "approve"
