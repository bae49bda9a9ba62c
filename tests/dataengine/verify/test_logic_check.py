"""Answers to logic puzzles pass when they say what the reference says, in whatever form."""

import gzip
import itertools
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.sources.files import LAYOUTS
from dataengine.verify.logic import LogicCheck, form_of

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "science_logic"

ISLAND = "(1) Zoey is a knight\n(2) Oliver is a knave\n(3) Ava is a knave"
RIGHT = "Zoey is a knight, Oliver is a knave, and Ava is a knave."


def sample(reply: str, reference: str | None, **verify: Any) -> Sample:
    return Sample(text=reply, answer=reply, reference=reference, verifier="logic", metadata={"verify": verify})


def ask(reply: str, reference: str | None, **verify: Any) -> Opinion:
    (opinion,) = LogicCheck()([sample(reply, reference, **verify)])
    return opinion


def told(reply: str, reference: str | None, **verify: Any) -> tuple[str, str]:
    opinion = ask(reply, reference, **verify)
    assert (opinion.score is None) == (opinion.outcome == "undecided")
    return opinion.outcome, opinion.reason


@pytest.mark.parametrize(
    "reply",
    [
        RIGHT,
        f"<answer>{ISLAND}</answer>",
        "<answer>(1) Zoey is a knight (2) Oliver is a knave (3) Ava is a knave</answer>",
        '<answer>{"Zoey": "knight", "Oliver": "knave", "Ava": "knave"}</answer>',
        "{'Zoey': 'knight', 'Oliver': 'knave', 'Ava': 'knave'}",
        "1. Zoey is a knight\n2. Oliver is a knave\n3. Ava is a knave",
        "- **Zoey** is a **Knight**.\n- **Oliver** is a **Knave**.\n- **Ava** is a **knave**.",
        "**Zoey**: knight\n**Oliver**: knave\n**Ava**: knave",
        "| Name | Role |\n|---|---|\n| Zoey | Knight |\n| Oliver | Knave |\n| Ava | Knave |",
        "Zoey - knight\nOliver - knave\nAva – knave",
        "Zoey → knight, Oliver -> knave, Ava = knave",
        "Zoey (knight), Oliver (knave), Ava (knave)",
        "Zoey, a knight, Oliver, a knave, and Ava, a knave",
        "knight: Zoey knave: Oliver knave: Ava",
        "Knights: Zoey\nKnaves: Oliver, Ava",
        "Knights:\n- Zoey\n\nKnaves:\n- Oliver\n- Ava",
        '{"knights": ["Zoey"], "knaves": ["Oliver", "Ava"]}',
        "Zoey is a knight; Oliver and Ava are knaves.",
        "The knight is Zoey and the knaves are both Oliver and Ava.",
        "Zoey is the only knight; the rest are knaves.",
        "Zoey is not a knave, Oliver is not a knight, Ava isn't a knight.",
        "Zoey is a knight. Neither Oliver nor Ava is a knight.",
        "Zoey is a truth-teller, Oliver is a liar and Ava must be a liar.",
        "ZOEY IS A KNIGHT, oliver is a knave, ava is a knave",
        r"\boxed{\text{Zoey is a knight, Oliver is a knave, Ava is a knave}}",
        r"$\boxed{\text{Zoey: knight} \\ \text{Oliver: knave} \\ \text{Ava: knave}}$",
        r"Zoey: \boxed{knight}, Oliver: \boxed{knave}, Ava: \boxed{knave}",
        "Zoey是骑士，Oliver不是骑士，Ava是无赖。",
        "The final answer is: Zoey is a knight. Oliver is a knave. Ava is a knave.",
        f"If Zoey is a knave, then Ava is a knight. A contradiction.\n\nSo: {RIGHT}",
        f"Ava is a knight, at first sight.\n\nBut no. {RIGHT}",
        f'"Ava is a knight," says Oliver. {RIGHT}',
    ],
)
def test_who_is_what_is_understood_in_any_form(reply: str) -> None:
    assert told(reply, ISLAND) == ("pass", "")
    assert told(reply, ISLAND.replace("Ava is a knave", "Ava is a knight")) == ("fail", "different")


@pytest.mark.parametrize(
    "reference",
    [
        RIGHT,
        ISLAND,
        "Zoey is a knight and Oliver is a knave and Ava is a knave",
        '{"Zoey": "knight", "Oliver": "liar", "Ava": "knave"}',
        "{'Zoey': 'knight', 'Oliver': 'knave', 'Ava': 'knave'}",
        "Zoey: knight\nOliver: knave\nAva: knave",
        "| Name | Role |\n|---|---|\n| **Zoey** | Knight |\n| Oliver | Knave |\n| Ava | Knave |",
        "Zoey is not a knave. Oliver is not a knight. Ava is a liar.",
        "Zoey是骑士，Oliver是无赖，Ava是无赖。",
    ],
)
def test_a_reference_of_who_is_what_may_have_any_of_these_forms(reference: str) -> None:
    assert told(RIGHT, reference) == ("pass", "")
    assert told(f"<answer>{RIGHT.replace('knight', 'knave')}</answer>", reference) == ("fail", "different")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Zoey is a knight, Oliver is a knave", "incomplete"),
        ("Everyone is a knave", "different"),
        ("Zoey is a knight, Oliver is a knight", "different"),
        (f"{RIGHT} Zoey is a knave.", "contradictory"),
    ],
)
def test_a_marked_answer_that_leaves_out_or_contradicts_fails(answer: str, reason: str) -> None:
    assert told(f"<answer>{answer}</answer>", ISLAND) == ("fail", reason)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I cannot tell.", "not_understood"),
        ("Zoey is a knight.", "not_understood"),
        (f"{RIGHT} Zoey is a knave.", "contradictory"),
        ("<answer>Bob is a knight</answer>", "not_understood"),
        ("<answer>knight, knave, knave</answer>", "not_understood"),
        ("<answer>Zoey is a knight or a knave, Oliver is a knave, Ava is a knave</answer>", "not_understood"),
        ("<answer>Zoey is a knight/knave, Oliver is a knave, Ava is a knave</answer>", "not_understood"),
        ("<answer>Zoey is a wizard, Oliver is a knave, Ava is a knave</answer>", "not_understood"),
        ("<answer>The knights are Zoey, Oliver and Ava are knaves</answer>", "not_understood"),
        ("Zoey says Oliver is a knave. Zoey is a knight. Ava is a knave.", "not_understood"),
        ("<answer>It is false that Zoey is a knight. Oliver is a knave. Ava is a knave.</answer>", "not_understood"),
        ("<answer>Not everyone is a knave. Zoey, Oliver, Ava!</answer>", "not_understood"),
        ("<answer>Zoey is a knight. Oliver and Ava? Both of them are knaves.</answer>", "not_understood"),
        ("<answer>A knıght is a knave</answer>", "not_understood"),
        ("Is Zoey a knight? Oliver is a knave. Ava is a knave.", "not_understood"),
    ],
)
def test_what_is_not_said_for_sure_is_undecided(reply: str, reason: str) -> None:
    assert told(reply, ISLAND) == ("undecided", reason)


def test_the_evidence_is_what_the_answer_says_of_each() -> None:
    opinion = ask("<answer>Zoey and Ava are knaves</answer>", ISLAND)
    assert opinion.details["said"] == {"Zoey": "knave", "Ava": "knave"}
    assert opinion.details["from"] == "answer_tag"


def test_values_may_be_any_that_the_reference_has() -> None:
    reference = "Ann: doctor, Bob: lawyer, House 3: doctor"
    assert told("Bob is the lawyer; House 3 = doctor and Ann → doctor.", reference) == ("pass", "")
    assert told("<answer>Ann: lawyer, Bob: lawyer, House 3: doctor</answer>", reference) == ("fail", "different")
    # Not a doctor may be anything.
    assert told("<answer>Ann: doctor, Bob: not a doctor, House 3: doctor</answer>", reference)[0] == "undecided"


def test_names_of_one_letter_are_told_from_articles() -> None:
    assert told("A is a knight and B is a knave.", "A: knight, B: knave") == ("pass", "")
    assert told("<answer>a knight, a knave</answer>", "A: knight, B: knave") == ("undecided", "not_understood")


@pytest.mark.parametrize(
    ("reference", "reply"),
    [
        *(
            ("yes", f)
            for f in ("Yes", "yes.", "**Yes**", r"\boxed{\text{Yes}}", "<answer>Yes</answer>", "是的", "True")
        ),
        *(("Yes", f) for f in ("Yes, because there is no reason not to.", "The answer is yes.", "It is plausible.")),
        ("yes", "Yes.\n\nFirst we see that\nit goes\non and\non and\non and\non."),
        *(
            ("no", f)
            for f in ("No.", "No, because yes-men lie.", "no", "False", "Is it yes? No.", "It is implausible.")
        ),
        *(("invalid", f) for f in ("The argument is invalid.", "not valid", "It is not deductively valid.", "no")),
        ("invalid", "Is the argument valid or invalid? It is invalid."),
        ("False", "not ( True ) and ( True ) is False"),
        ("True", "True and not not ( not False ) = True"),
        ("Uncertain", "This cannot be determined."),
        ("plausible", "The sentence is plausible."),
    ],
)
def test_yes_and_no_are_understood_in_any_form(reference: str, reply: str) -> None:
    other = {"yes": "no", "no": "yes", "invalid": "valid", "false": "true", "true": "false", "plausible": "implausible"}
    assert told(reply, reference) == ("pass", "")
    assert told(reply, other.get(reference.lower(), "True")) == ("fail", "different")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        *((f, "contradictory") for f in ("Yes and no", "yes or no", "Yes/No", "No.\n\nOn the other hand, yes.")),
        *((f, "not_understood") for f in ("maybe", "there is no way", "I know", "Yes?")),
    ],
)
def test_neither_yes_nor_no_is_undecided(reply: str, reason: str) -> None:
    assert told(reply, "yes") == told(reply, "no") == ("undecided", reason)


@pytest.mark.parametrize(
    "reply",
    [
        "barn damp it&t",
        "barn, damp, it&t.",
        "Barn, Damp and It&t",
        "1. barn\n2. damp\n3. it&t",
        "* barn\n* damp\n* it&t",
        '["barn", "damp", "it&t"]',
        "barn → damp → it&t",
        "barn < damp < it&t",
        "<answer>The sorted list is: barn damp it&t</answer>",
        r"\boxed{\text{barn, damp, it\&t}}".replace(r"\&", "&"),
        "The words are it&t, damp, barn. We sort them.\n\nThe answer is barn, damp, it&t.",
        "First barn, then damp, followed by it&t",
    ],
)
def test_lists_pass_in_their_order_only(reply: str) -> None:
    assert told(reply, "barn damp it&t", kind="ordered") == ("pass", "")
    assert told(reply, "damp barn it&t", kind="ordered") == ("fail", "different")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("<answer>barn damp</answer>", ("fail", "incomplete")),
        ("<answer>barn, damp, it&t, dot</answer>", ("fail", "different")),
        ("<answer>apple, barn, damp, it&t</answer>", ("fail", "different")),
        ("<answer>barn, dot, damp, it&t</answer>", ("fail", "different")),
        ("<answer>barn, dot, damp, dot</answer>", ("fail", "different")),
        ("<answer>barn damp it&t barn</answer>", ("fail", "different")),
        ("<answer>barn damp it&t dot</answer>", ("undecided", "not_understood")),
        ("<answer>see above</answer>", ("undecided", "not_understood")),
        ("We compare barn and damp.", ("undecided", "not_understood")),
    ],
)
def test_lists_with_other_items_do_not_pass(reply: str, outcome: tuple[str, str]) -> None:
    assert told(reply, "barn damp it&t", kind="ordered") == outcome


def test_a_ranking_may_be_told_from_either_end() -> None:
    for reply in ("Ann > Bob > Cid", "Cid < Bob < Ann", "Ann, Bob, Cid", "1. Ann\n2. Bob\n3. Cid"):
        assert told(reply, "Ann > Bob > Cid") == ("pass", "")
    for reply in ("Cid > Bob > Ann", "Ann < Bob < Cid", "Cid, Bob, Ann"):
        assert told(reply, "Ann > Bob > Cid") == ("fail", "different")


@pytest.mark.parametrize(
    "reply",
    [
        *("} ] }", "}]}", "So the answer is } ] }.", "<answer>} ] }</answer>", r"\boxed{} ] }}", r"\boxed{\} ] \}}"),
        *("```\n} ] }\n```", "The sequence is closed by: } ] }", "<answer>{ [ { } ] }</answer>"),
    ],
)
def test_brackets_pass_whatever_stands_between_them(reply: str) -> None:
    assert told(reply, "} ] }", given=" { [ {", kind="brackets") == ("pass", "")
    assert told(reply, "} ] >", given=" < [ {", kind="brackets") == ("fail", "different")


def test_a_bracket_that_ends_a_remark_is_no_answer() -> None:
    assert told("(see above)", ")") == ("undecided", "not_understood")
    assert told("( ) )", "( )") == ("fail", "different")


@pytest.mark.parametrize(
    ("reference", "verify", "reason"),
    [
        (None, {}, "no_reference"),
        (" ", {}, "no_reference"),
        ("Paris", {}, "reference_not_usable"),
        ("Paris is the capital", {}, "reference_not_usable"),
        ("the cat sat on the mat", {}, "reference_not_usable"),
        ("Zoey is a knight, Zoey is a knave", {}, "reference_not_usable"),
        ("Ann: Bob, Bob: Ann", {}, "reference_not_usable"),
        ("yes", {"kind": "maybe"}, "reference_not_usable"),
        ("yes", {"kind": ["yes_no"]}, "reference_not_usable"),
        ("yes", {"kind": "ordered"}, "reference_not_usable"),
        ("Ann > Bob", {"kind": "yes_no"}, "reference_not_usable"),
        ("Ann > Bob", {"kind": "assignment"}, "reference_not_usable"),
        ("] a", {"kind": "brackets"}, "reference_not_usable"),
        ("]", {"kind": "brackets", "given": 3}, "reference_not_usable"),
        (", ".join(f"n{i}: knight" for i in range(2000)), {}, "reference_not_usable"),
    ],
)
def test_a_reference_that_is_none_of_these_is_undecided(reference: str | None, verify: Any, reason: str) -> None:
    assert told("<answer>yes</answer>", reference, **verify) == ("undecided", reason)


def test_a_reply_without_an_answer_is_undecided() -> None:
    assert told(" ", "yes") == ("undecided", "no_answer")
    cut_off = Sample(text="<think>It is yes, I", answer=None, reference="yes", verifier="logic")
    assert LogicCheck()([cut_off])[0].reason == "no_answer"


def test_the_form_of_the_reference_tells_the_kind_unless_it_is_given() -> None:
    forms = {"yes": "yes_no", "] >": "brackets", "[b, a]": "ordered", "1. b\n2. a": "ordered", RIGHT: "assignment"}
    assert {text: form.kind for text in forms if (form := form_of(text))} == forms
    assert form_of("b, a") is None
    for text, kind in (("b, a", "ordered"), ("b\na", "ordered"), ("sky: blue", "assignment")):
        form = form_of(text, {"kind": kind})
        assert form is not None
        assert form.kind == kind


def test_only_prompts_that_ask_for_it_are_checked() -> None:
    check = load_check("logic")
    assert check.applies(sample("yes", "yes"))
    assert not check.applies(Sample(text="yes", reference="yes", verifier="exact"))


NAMES = st.lists(st.sampled_from(["Ann", "Bob", "Cid", "Dora", "Emil", "Gus", "Hilde", "Jo"]), min_size=2, unique=True)
FORMS = ("{} is a {}", "{}: {}", "({}, a {})", "**{}** = {}")


@given(NAMES, st.data(), st.sampled_from(FORMS), st.sampled_from(["\n", ", ", "; "]))
def test_assignments_pass_as_they_are_and_fail_with_one_turned(
    names: list[str], data: st.DataObject, form: str, between: str
) -> None:
    roles = data.draw(st.lists(st.sampled_from(["knight", "knave"]), min_size=len(names), max_size=len(names)))
    turned = data.draw(st.integers(0, len(names) - 1))
    others = [("knave" if r == "knight" else "knight") if i == turned else r for i, r in enumerate(roles)]
    reference = "\n".join(f"({i}) {n} is a {r}" for i, (n, r) in enumerate(zip(names, roles, strict=True), 1))
    for said, outcome in ((roles, "pass"), (others, "fail")):
        answer = between.join(form.format(n, r) for n, r in zip(names, said, strict=True))
        assert ask(f"<answer>{answer}</answer>", reference).outcome == outcome


@given(NAMES, st.data(), st.sampled_from([" ", ", ", "\n", " > "]))
def test_lists_pass_as_they_are_and_fail_in_another_order(names: list[str], data: st.DataObject, between: str) -> None:
    other = data.draw(st.permutations(names))
    outcome = "pass" if other == names else "fail"
    assert ask(f"<answer>{between.join(names)}</answer>", between.join(names), kind="ordered").outcome == "pass"
    assert ask(f"<answer>{between.join(other)}</answer>", between.join(names), kind="ordered").outcome == outcome


REFERENCES = {ISLAND: {}, "yes": {}, "b a c": {"kind": "ordered"}, "] >": {"given": "< ["}, "A: x, B: y": {}}
WORDS = st.sampled_from(
    [
        *(
            "Zoey",
            "Oliver",
            "knight",
            "knaves",
            "is",
            "are",
            "not",
            "and",
            "or",
            "the",
            "b",
            "c",
            "A",
            "B",
            "yes",
            "no",
        ),
        *(",", "(", ")", "]", ">", "<", ":", "\n"),
    ]
)


@given(st.one_of(st.text(st.characters(), max_size=200), st.lists(WORDS).map(" ".join)))
def test_no_reply_breaks_it(reply: str) -> None:
    for reference, verify in REFERENCES.items():
        ask(reply, reference, **verify)
        ask(f"<answer>{reply}</answer>", reference, **verify)


@given(st.text(st.characters(), max_size=100), st.sampled_from([None, "assignment", "yes_no", "ordered", "brackets"]))
def test_no_reference_breaks_it(reference: str, kind: str | None) -> None:
    ask("<answer>x</answer>", reference, **({"kind": kind} if kind else {}))


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "Zoey, ",
            "Zoey and ",
            "neither Zoey nor ",
            "Knights: Zoey, ",
            "Zoey is not ",
            "not ",
            "b a ",
            "b > ",
            "[ ",
            "] ",
        ),
        *("no, yes ", "{", r"\text{", r"\boxed{", '"a is ', "(1) ", "- ", "|", "\n", "<answer>", "a", "ly", "是"),
    ],
)
def test_long_replies_cost_little_time(unit: str) -> None:
    reply = (unit * 20_000)[:20_000] + "x"
    start = time.perf_counter()
    for reference, verify in REFERENCES.items():
        ask(reply, reference, **verify)
        ask("x", reply[:20_000], **verify)
    assert time.perf_counter() - start < 2  # 0.1 s; minutes where it is not linear


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip("the data of the acceptance runs is not here")
    if path.suffix == ".parquet":
        columns = ["quiz", "solution_text", "solution_text_format"]
        found: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
        return found
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(json.load(file)["examples"])


@pytest.mark.parametrize("people", [3, 7])
def test_knights_and_knaves_pass_with_their_solution_and_no_other(people: int) -> None:
    puzzles = rows(DATA / f"kk_logic_rl/kk/instruct/{people}ppl/test.parquet")
    fields = [LAYOUTS["kk"](p) for p in puzzles]
    own = [sample(p["solution_text"], f["reference"]) for p, f in zip(puzzles, fields, strict=True)]
    assert Counter(o.outcome for o in LogicCheck()(own)) == {"pass": 100}
    next_one = [
        sample(f"<answer>{b['reference']}</answer>", a["reference"])
        for a, b in itertools.pairwise([*fields, fields[0]])
    ]
    assert "pass" not in {o.outcome for o in LogicCheck()(next_one)}
    # A reply that only repeats the puzzle answers nothing, whatever its people say of one another.
    asked = [sample(f["prompt"], f["reference"]) for f in fields]
    assert Counter(o.outcome for o in LogicCheck()(asked)) == {"undecided": 100}


@pytest.mark.parametrize("task", ["web_of_lies", "formal_fallacies", "word_sorting", "dyck_languages"])
def test_targets_of_big_bench_hard_pass_and_the_next_only_where_it_is_the_same(task: str) -> None:
    fields = [LAYOUTS["bbh"](r) for r in rows(DATA / f"bbh/bbh/{task}.json.gz")]
    assert {f["verifier"] for f in fields} == {"logic"}
    check = LogicCheck()
    for form in ("<answer>{}</answer>", "So the answer is {}."):
        own = [sample(form.format(f["reference"]), f["reference"], **f.get("verify", {})) for f in fields]
        assert Counter(o.outcome for o in check(own)) == {"pass": 250}
    pairs = list(itertools.pairwise(fields))
    found = check(
        [sample(f"<answer>{b['reference']}</answer>", a["reference"], **a.get("verify", {})) for a, b in pairs]
    )
    assert [o.outcome == "pass" for o in found] == [a["reference"] == b["reference"] for a, b in pairs]
