"""Benchmark items are found in prompts and replies however they are spelled, with their place; other text is not."""

import gzip
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters import tokens
from dataengine.filters.contamination import ContaminationCheck
from dataengine.filters.tokens import tokenise
from schemas.errors import ConfigError

Cli = Callable[..., Any]
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

ORCHARD = "An orchard's keeper fills 1,250 crates in June; how many crates remain once she sells 40 % of them in July?"
SOLVED = "She sells 1,250 * 0.4 = 500 crates, so that exactly 750 of her crates are still waiting in the orchard shed."
CHINESE = "小王在果园里一共摘了四十个苹果，送给邻居十五个以后还剩下多少个？"
THAI = "ชาวสวนเก็บแอปเปิลได้สี่สิบผล เขาเหลือกี่ผล"
SHORT = "Name the deepest lake in Atlantis."
TINY = "Why, Gwendolyn?"
FILLER = "Let me think about something else first, slowly and without any hurry at all, since time is plenty here. "


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"question": ORCHARD, "answer": SOLVED}, *({"question": q, "answer": ""} for q in (CHINESE, THAI))]
    return write(
        tmp_path_factory.mktemp("benchmark") / "orchard.jsonl",
        *rows,
        *({"question": q, "answer": ""} for q in (SHORT, TINY)),
    )


@pytest.fixture(scope="module")
def check(file: Path) -> ContaminationCheck:
    return ContaminationCheck(benchmarks=[str(file)])


def ask(check: ContaminationCheck, text: str, prompt: str = "") -> Opinion:
    (opinion,) = check([Sample(text=text, prompt=prompt)])
    return opinion


@pytest.mark.parametrize(
    "spelled",
    [
        lambda s: s,
        str.upper,
        str.lower,
        lambda s: s.replace(" ", "  \n\t"),
        lambda s: s.replace(",", "").replace(";", " --").replace("?", "!!"),
        lambda s: s.replace(",", " ").replace("'", " "),
        lambda s: s.replace("'", "’"),
        lambda s: s.replace("'", ""),
        lambda s: "".join(f"*{c}*" if c.isspace() else c for c in s),
        lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s),
        lambda s: s.replace("e", "e\u0301").replace("r", "r\u00ad"),
        lambda s: unicodedata.normalize("NFD", s),
    ],
)
@pytest.mark.parametrize("text", [ORCHARD, SOLVED, CHINESE, THAI, SHORT])
def test_an_item_is_found_however_it_is_spelled(
    check: ContaminationCheck, text: str, spelled: Callable[[str], str]
) -> None:
    planted = spelled(text)
    opinion = ask(check, FILLER + planted + " " + FILLER, "Anything?")
    assert (opinion.outcome, opinion.score, opinion.reason) == ("fail", 1.0, "benchmark_item")
    (match,) = opinion.details["matches"]
    assert (match["benchmark"], match["in"], match["share"]) == ("orchard", "reply", 1.0)
    assert match["part"] == ("solution" if text == SOLVED else "question")
    start, end = match["span"]
    # From the first word to the last, without what stands around them.
    assert 0 <= start - len(FILLER) <= 1
    assert 0 <= len(FILLER + planted) - end <= 3
    assert match["text"] == (FILLER + planted)[start:end]


@pytest.mark.parametrize(
    "text",
    [
        FILLER,
        "",
        "She sells 1,250 * 0.4 = 500 crates, so seven of them are gone and nothing else remains to be done.",
        CHINESE[:9] + "。" + CHINESE[12:20],
        "Name the deepest lake, said nobody in Atlantis.",
        f"{FILLER} {TINY}",
    ],
)
def test_what_shares_fewer_words_in_a_row_passes(check: ContaminationCheck, text: str) -> None:
    assert ask(check, text) == Opinion("pass", 0.0, details={"benchmarks": ["orchard"]})


def test_ten_words_in_a_row_are_found_and_nine_are_not(check: ContaminationCheck) -> None:
    words = ORCHARD.split()  # the number is one word
    ten = ask(check, " ".join(words[:10]))
    assert ten.details["matches"][0]["found"] == 1
    assert ten.score is not None
    assert 0 < ten.score < 0.2
    assert ask(check, " ".join(words[:9])).outcome == "pass"


def test_the_score_is_the_share_of_the_item_that_was_found(check: ContaminationCheck) -> None:
    scores = [ask(check, ORCHARD[:n]).score or 0.0 for n in [*range(0, len(ORCHARD), 5), len(ORCHARD)]]
    assert scores == sorted(scores)
    assert {0.0, 1.0} < set(scores)


@pytest.mark.parametrize("text", ["why, GWENDOLYN", f"{FILLER}\n- Why,\nGwendolyn?\n\n{FILLER}", "\n Why Gwendolyn"])
def test_a_few_words_are_found_on_lines_of_their_own(check: ContaminationCheck, text: str) -> None:
    opinion = ask(check, "Because.", text)
    assert opinion.score == 1.0
    (match,) = opinion.details["matches"]
    assert match["in"] == "prompt"
    assert match["text"].lower().split() in (["why,", "gwendolyn"], ["why", "gwendolyn"])


@pytest.mark.parametrize("text", [f"{FILLER}{TINY}", f"{TINY} {FILLER}", f"So\n{TINY} Hm"])
def test_a_few_words_among_others_are_none(check: ContaminationCheck, text: str) -> None:
    assert ask(check, text).outcome == "pass"


def test_the_longest_stretch_is_shown_and_prompt_and_reply_are_told_apart(check: ContaminationCheck) -> None:
    torn = ORCHARD[:70] + " ... " + FILLER + ORCHARD
    opinion = ask(check, torn, FILLER)
    assert opinion.details["matches"][0]["span"] == [len(torn) - len(ORCHARD), len(torn) - 1]
    both = ask(check, SHORT, ORCHARD)
    assert [m["in"] for m in both.details["matches"]] == ["prompt"]


def test_what_every_item_says_flags_nothing_but_each_item_is_found(tmp_path: Path) -> None:
    opening = "Please read all of the following statements with care and then choose the right one:"
    rows = [{"input": f"{opening} {a} or {b}", "target": a} for a in "abcde" for b in ("left", "right")]
    rows.append({"input": opening, "target": ""})
    check = ContaminationCheck(benchmarks=[str(write(tmp_path / "choose.jsonl", *rows))])
    assert ask(check, opening.replace("right one", "wrong one")).outcome == "pass"
    for number, row in enumerate(rows, start=1):
        opinion = ask(check, FILLER + row["input"])
        assert opinion.score == 1.0
        if row["target"]:
            assert opinion.details["matches"][0]["item"] == f"choose.jsonl:{number}"


def test_numbers_in_a_row_are_no_evidence_but_a_whole_item(tmp_path: Path) -> None:
    counting = " ".join(map(str, range(1, 31)))
    check = ContaminationCheck(benchmarks=[str(write(tmp_path / "sums.jsonl", {"problem": f"Add {counting}"}))])
    assert ask(check, counting).outcome == "pass"
    assert ask(check, f"Please add {counting}.").outcome == "fail"


def test_a_threshold_counts_ngrams(file: Path) -> None:
    strict = ContaminationCheck(benchmarks=[str(file)], minimum=3)
    words = ORCHARD.split()
    assert ask(strict, " ".join(words[:11])).outcome == "pass"
    assert ask(strict, " ".join(words[:12])).outcome == "fail"
    assert ask(strict, SHORT).outcome == "fail"


def test_the_version_follows_names_texts_and_settings_not_the_files(file: Path, tmp_path: Path) -> None:
    def version(*paths: Any, **settings: Any) -> str:
        return ContaminationCheck(benchmarks=[*paths], **settings).version

    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    elsewhere = tmp_path / "elsewhere" / f"{file.stem}.jsonl.gz"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in reversed(rows)).encode()))
    other = write(tmp_path / "other.jsonl", *rows[:-1])
    assert version(str(file)) == version(str(elsewhere)) == version(str(file), words=10, minimum=1)
    assert version(str(file)).startswith(f"{ContaminationCheck.RULES}+")
    assert len({version(str(file)), version(str(other)), version(str(file), words=12),
                version(str(file), minimum=2), version({"path": str(file), "name": "renamed"})}) == 5  # fmt: skip


def test_every_verdict_names_what_was_looked_for(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", {"question": "Which of the two is it?", "answer": "#### 1"})
    check = ContaminationCheck(benchmarks=[{"path": str(file), "name": "trees"}, str(other)])
    for text in (ORCHARD, "Nothing of the kind."):
        assert ask(check, text).details["benchmarks"] == ["other", "trees"]


LAYOUTS: dict[str, tuple[Any, str, str]] = {
    "gsm8k": ({"question": ORCHARD, "answer": SOLVED}, ORCHARD, SOLVED),
    "math": ({"problem": ORCHARD, "answer": "750", "unique_id": "a/1.json"}, ORCHARD, ""),
    "aime": ({"problem": ORCHARD, "solution": SOLVED}, ORCHARD, SOLVED),
    "humaneval": ({"task_id": "X/0", "prompt": ORCHARD, "canonical_solution": SOLVED, "test": ""}, ORCHARD, SOLVED),
    "mbpp": ({"text": ORCHARD, "code": SOLVED, "task_id": 1, "test_list": []}, ORCHARD, SOLVED),
    "mbpp_test": ({"prompt": ORCHARD, "code": SOLVED, "task_id": 1, "test": []}, ORCHARD, SOLVED),
    "ifeval": ({"key": 7, "prompt": ORCHARD, "kwargs": []}, ORCHARD, ""),
    "arc": ({"instruction": "Please choose the correct answer to the question: " + ORCHARD + "\n\nAnswer1: a Answer2: b"
             "\n\nAnswer format: answer1/answer2", "input": "", "output": "the correct answer is answer1",
             "answer": "answer1"}, ORCHARD, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_columns_of_published_benchmarks_are_known(tmp_path: Path, name: str) -> None:
    row, question, solution = LAYOUTS[name]
    check = ContaminationCheck(benchmarks=[str(write(tmp_path / f"{name}.jsonl", row))])
    (match,) = ask(check, question).details["matches"]
    item = row.get("task_id", row.get("unique_id", row.get("key", f"{name}.jsonl:1")))
    assert (match["benchmark"], match["item"], match["part"], match["share"]) == (name, str(item), "question", 1.0)
    assert match["text"] == ORCHARD.rstrip("?")
    assert ask(check, solution).outcome == ("fail" if solution else "pass")
    assert ask(check, str(row)).score == 1.0


def test_folders_notices_tables_and_named_columns(tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "one.json").write_text(
        json.dumps({"canary": "do not train", "examples": [{"input": ORCHARD, "target": "750"}]}), encoding="utf-8"
    )
    (folder / "two_zh.tsv").write_text(f"{CHINESE}\t25\n", encoding="utf-8")
    (folder / "LICENSE").write_text("free", encoding="utf-8")
    mine = write(tmp_path / "mine.jsonl", {"q": SHORT, "s": SOLVED})
    check = ContaminationCheck(
        benchmarks=[str(folder), {"path": str(mine), "name": "own", "map": {"question": "q", "solution": "s"}}]
    )
    opinion = ask(check, "\n".join([ORCHARD, SHORT]), CHINESE)
    assert [(m["benchmark"], m["item"], m["in"]) for m in opinion.details["matches"]] == [
        ("bench", "two_zh.tsv:1", "prompt"),
        ("own", "mine.jsonl:1", "reply"),
    ]
    assert ask(check, SOLVED).details["matches"][0]["part"] == "solution"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "benchmarks names no file; write benchmarks: ["),
        ({"benchmarks": []}, "benchmarks names no file"),
        ({"benchmarks": "some.jsonl"}, "benchmarks names no file"),
        ({"benchmarks": ["nowhere.jsonl"]}, "nowhere.jsonl: no such file"),
        ({"benchmarks": [{"name": "x"}]}, "is no benchmark"),
        ({"benchmarks": [{"path": "x.jsonl", "columns": {}}]}, "have no setting 'columns'; there are: path, name"),
        ({"benchmarks": [{"path": "x.jsonl", "layout": "gsm"}]}, "there is no layout 'gsm'; there are: gsm8k, mgsm"),
        ({"benchmarks": [{"path": "x.jsonl", "map": {"solution": "s"}}]}, "write map: {question: COLUMN}"),
        ({"benchmarks": ["{good}"], "words": 3}, "words is 3; it must be at least 4"),
        ({"benchmarks": ["{good}"], "minimum": 0}, "minimum is 0; it must be at least 1"),
        ({"benchmarks": ["{torn}"]}, "torn.jsonl:1: no JSON"),
        ({"benchmarks": ["{odd}"]}, "odd.jsonl:1: no known benchmark has the columns q; write map"),
        ({"benchmarks": [{"path": "{odd}", "map": {"question": "r"}}]}, "there is no column 'r'; the row has: q"),
        ({"benchmarks": [{"path": "{odd}", "map": {"question": "q"}}]}, "5 is no text"),
        ({"benchmarks": ["{folder}"]}, "no file in it that ends in .jsonl"),
    ],
)
def test_wrong_settings_are_one_line_that_names_the_way_out(tmp_path: Path, settings: Any, said: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "good.jsonl", {"problem": ORCHARD})
    write(tmp_path / "odd.jsonl", {"q": 5})
    (tmp_path / "torn.jsonl").write_text('{"problem": "x', encoding="utf-8")
    text = json.dumps(settings)
    for name in ("good", "odd", "torn"):
        text = text.replace(f"{{{name}}}", str(tmp_path / f"{name}.jsonl"))
    with pytest.raises(ConfigError) as error:
        load_check("contamination", json.loads(text.replace("{folder}", str(tmp_path / "folder"))))
    assert str(error.value).startswith("check contamination: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


HOSTILE = {
    "empty": "",
    "spaces": " \n\t" * 10_000,
    "emoji": "😀👩‍👩‍👧" * 1000,
    "right to left": "שלום עולם مرحبا " * 1000,
    "lone surrogates": "\ud800 one \udfff two" * 1000,
    "NUL": "\0" * 1000,
    "mixed forms": "e\u0301é" * 1000,
    "one word": "a" * 5_000_000,
    "one line": "some words go on " * 300_000,
    "characters": "字" * 300_000,
    "ligatures": "\ufdfa" * 50_000,
    "commas": "1," * 100_000,
    "marks": "\u0301" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_item_is_found_beside_any_text_at_its_place(check: ContaminationCheck, name: str) -> None:
    text = f"{HOSTILE[name]} {ORCHARD} {HOSTILE[name]}"
    alone, planted = check([Sample(text=HOSTILE[name]), Sample(text=text)])
    assert alone == Opinion("pass", 0.0, details={"benchmarks": ["orchard"]})
    start, end = planted.details["matches"][0]["span"]
    assert text[start:end] == ORCHARD.rstrip("?")


def test_a_reply_that_repeats_an_item_many_times_is_answered(check: ContaminationCheck) -> None:
    opinion = ask(check, (ORCHARD + " ") * 20_000 + SHORT * 20_000)
    assert opinion.score == 1.0
    assert len(opinion.details["matches"][0]["text"]) == 300


WORDS = st.sampled_from(
    [*ORCHARD.split(), *SOLVED.split(), ORCHARD, CHINESE, "e\u0301", "é", "각", "\ud800", "\0", "ﷺ", "ậ\u0327", "が"]
)
TEXTS = st.lists(WORDS | st.text(st.characters(), max_size=5), max_size=40).map(" ".join)


@given(st.lists(TEXTS, min_size=1, max_size=6), st.randoms())
def test_order_and_company_change_no_opinion(check: ContaminationCheck, texts: list[str], chance: Any) -> None:
    samples = [Sample(text=t, prompt=t[::-1]) for t in texts]
    alone = [check([s])[0] for s in samples]
    assert check(samples) == alone
    order = list(range(len(samples)))
    chance.shuffle(order)
    assert check([samples[i] for i in order]) == [alone[i] for i in order]


@given(TEXTS)
def test_composed_and_decomposed_text_get_one_verdict(check: ContaminationCheck, text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    one, other = (ask(check, form) for form in forms)
    assert (one.outcome, one.score) == (other.outcome, other.score)
    assert tokenise([forms[0]]).hashes.tolist() == tokenise([forms[1]]).hashes.tolist()


@given(TEXTS, st.integers(1, 60))
def test_blocks_and_spans_follow_the_original_text(check: ContaminationCheck, text: str, size: int) -> None:
    for match in ask(check, text).details.get("matches", []):
        start, end = match["span"]
        assert 0 <= start < end <= len(text)
        assert match["text"] == text[start:end][:300]
    whole = tokenise([text])
    assert (whole.starts < whole.ends).all()
    assert (whole.starts[1:] >= whole.starts[:-1]).all()
    # A text is cut at spaces only where it has some.
    spaced = " ".join(w[: size - 1] for w in text.split())
    before, tokens.BLOCK = tokens.BLOCK, size
    try:
        cut = tokenise([spaced])
    finally:
        tokens.BLOCK = before
    assert all((a == b).all() for a, b in zip(cut, tokenise([spaced]), strict=True))


def test_check_takes_settings_on_the_command_line(cli: Cli, file: Path, tmp_path: Path) -> None:
    answers = write(tmp_path / "answers.jsonl", {"response": f"Hm. {ORCHARD}", "prompt": "?"}, {"response": "Hm."})
    out = tmp_path / "out.jsonl"
    done = cli("check", answers, f"contamination.benchmarks=[{file}]", "--with", "contamination,length", "--out", out)
    assert done.code == 0
    rows = [json.loads(line)["verdicts"]["contamination"] for line in out.read_text("utf-8").splitlines()]
    assert [r["outcome"] for r in rows] == ["fail", "pass"]
    assert rows[0]["details"]["matches"][0]["span"] == [4, 3 + len(ORCHARD)]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("words=3", "words=3: settings are written check.setting=value, such as length.max_chars=4000"),
        ("length.max_chars", "length.max_chars: settings are written check.setting=value"),
        ("math.workers=1", "math.workers=1: --with does not name 'math'"),
        ("length.max_chars=[", "length.max_chars=[: '[' is no YAML value"),
        ("length.longest=3", "check length: got an unexpected keyword argument 'longest'"),
    ],
)
def test_wrong_settings_on_the_command_line_are_refused(refused: Any, tmp_path: Path, setting: str, said: str) -> None:
    answers = write(tmp_path / "answers.jsonl", {"response": "Hm."})
    assert said in refused("check", answers, setting, "--with", "length", "--out", "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.skipif(not DATA.exists(), reason="the public sets are not here (../shared/data)")
def test_every_item_of_a_public_benchmark_is_found_and_its_training_questions_are_not() -> None:
    check = ContaminationCheck(benchmarks=[str(DATA / "math/mgsm/mgsm_en.tsv.gz")])
    asked = [p.text for p in check.index.parts[: len(check.index.parts) // 2]]
    assert len(asked) == 250
    opinions = check([Sample(text=f"{FILLER}{t.upper()} {FILLER}") for t in asked])
    assert {o.score for o in opinions} == {1.0}
    with gzip.open(DATA / "math/gsm8k/train.jsonl.gz", "rt", encoding="utf-8") as lines:
        training = [Sample(text="", prompt=json.loads(line)["question"]) for line in lines]
    assert sum(o.outcome == "fail" for o in check(training)) < len(training) / 100
