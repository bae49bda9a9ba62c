"""What a queue file may say, and how it is told what is wrong with it."""

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.queue import Queue

GOOD = """\
queue: mine
title: What I look at
sql: |
  -- the newest first
  SELECT trajectory_id FROM trajectories
guideline: Look at the last line.
reasons: {wrong: The last line is wrong}
"""


def load(tmp_path: Path, text: str) -> Queue:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return Queue.load(file)


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    queue = load(tmp_path, GOOD)
    assert (queue.rows, queue.kind, queue.reviewers, queue.order, queue.edit) == (
        "attempts", "review", 1, "random", True,
    )  # fmt: skip
    assert (queue.lease, queue.gold, queue.repeats, queue.id_column) == (900, 0, 0, "trajectory_id")
    assert queue.file == tmp_path / "mine.yaml"


def test_pairs_are_not_edited_and_need_no_reasons(tmp_path: Path) -> None:
    queue = load(tmp_path, GOOD.replace("trajectory_id", "pair_id").partition("reasons")[0] + "rows: pairs\n")
    assert not queue.edit
    assert queue.id_column == "pair_id"


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("SELECT", "DELETE"), 3, "the queue's sql is one SELECT"),
        (("SELECT trajectory_id", "-- SELECT"), 3, "the queue's sql is one SELECT"),
        (("queue: mine", "queue: Mine & yours"), 1, "queue is 'Mine & yours'"),
        (("guideline: Look at the last line.", "guideline: ''"), 6, "the guideline is empty"),
        (("title: What I look at", 'title: "two\\nlines"'), 2, "one line of printable characters"),
        (("wrong:", "Wrong-1:"), 7, "reasons.Wrong-1"),
        (("{wrong: The last line is wrong}", "{}"), 1, "who rejects a reply says why"),
        (("{wrong: The", "{a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H, i: I, wrong: The"), 7, "at most 9"),
        (("reasons:", "reviewers: 0\nreasons:"), 7, "reviewers is 0"),
        (("reasons:", "reviewers: '2'\nreasons:"), 7, "reviewers is '2'"),
        (("reasons:", "lease: 7200\nreasons:"), 7, "lease is 7200"),
        (("reasons:", "gold: 1.0\nreasons:"), 7, "gold is 1.0"),
        (("reasons:", "kind: adjudicate\nreviewers: 2\nreasons:"), 1, "an adjudicator decides alone"),
        (("reasons:", "rows: pairs\nedit: true\nreasons:"), 1, "edit is for rows: attempts"),
        (("reasons:", "colour: red\nreasons:"), 7, "colour is no setting here"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(
    tmp_path: Path, change: tuple[str, str], line: int, said: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError) as error:
        load(tmp_path, GOOD.replace(*change))
    assert str(error.value).startswith(f"{tmp_path}/mine.yaml:{line}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sql", ["select 1", "(SELECT 1)", "/* a */ -- b\nWITH x AS (SELECT 1) FROM x", "FROM pairs"])
def test_whatever_reads_may_be_its_sql(sql: str) -> None:
    queue = Queue(queue="q", title="T", sql=sql, guideline="g", reasons={"wrong": "W"})
    assert queue.sql == sql


def test_the_version_of_a_guideline_is_that_of_its_words_and_reasons() -> None:
    def version(guideline: str = "Look.", **reasons: str) -> str:
        return Queue(
            queue="q", title="T", sql="SELECT 1", guideline=guideline, reasons=reasons or {"wrong": "W"}
        ).guideline_version

    assert len(version()) == 12
    assert version() == version() == version(wrong="W")
    assert len({version(), version("Look twice."), version(wrong="It is"), version(false="W")}) == 4
    other = Queue(queue="p", title="U", sql="SELECT 2", reviewers=3, guideline="Look.", reasons={"wrong": "W"})
    assert other.guideline_version == version()
