"""Of replies that say the same one passes, which one is no matter of order, and no text is too odd for a verdict."""

import random
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, SetCheck, load_check
from dataengine.filters import near
from dataengine.filters.duplicate import DuplicateCheck
from dataengine.filters.minhash import NUMBERS, U32, normal, signatures, similarity
from dataengine.filters.near import components, leaders

CHANCE = random.Random(1)
VOCABULARY = ["".join(CHANCE.choices(string.ascii_lowercase, k=CHANCE.randint(2, 9))) for _ in range(2000)]


def prose(words: int, seed: object) -> str:
    return " ".join(random.Random(repr(seed)).choices(VOCABULARY, k=words))


def altered(text: str, share: float, seed: object) -> str:
    """The text with so many of its words replaced, spread evenly at random."""
    chance, words = random.Random(repr(seed)), text.split()
    for place in chance.sample(range(len(words)), round(share * len(words))):
        words[place] = chance.choice(VOCABULARY)
    return " ".join(words)


def jaccard(one: str, other: str) -> float:
    a, b = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (one.split(), other.split()))
    return len(a & b) / len(a | b)


def ask(texts: Sequence[str], check: DuplicateCheck | None = None, **fields: Any) -> list[Opinion]:
    samples = [Sample(text=t, trajectory_id=f"row:{i}", **fields) for i, t in enumerate(texts)]
    return (check or DuplicateCheck())(samples)


def told(opinions: Sequence[Opinion]) -> list[tuple[str, str]]:
    return [(o.outcome, o.reason) for o in opinions]


PASS, EXACT, NEAR, NO_WORDS = ("pass", ""), ("fail", "exact"), ("fail", "near"), ("undecided", "no_words")


def test_of_equal_replies_the_first_passes_and_the_others_name_it() -> None:
    opinions = ask(["one two", "three", "one two", "\n one two "])
    assert told(opinions) == [PASS, PASS, EXACT, EXACT]
    assert [o.details.get("representative") for o in opinions] == [None, None, "row:0", "row:0"]
    assert [o.score for o in opinions] == [0.0, 0.0, 1.0, 1.0]


def test_of_nearly_equal_replies_the_longest_passes() -> None:
    longest = prose(200, "a")
    opinions = ask([altered(longest, 0.01, 1)[:-9], longest, prose(200, "b")])
    assert told(opinions) == [NEAR, PASS, PASS]
    assert opinions[0].details == {"representative": "row:1"}
    assert opinions[0].score == pytest.approx(jaccard(longest, altered(longest, 0.01, 1)[:-9]), abs=0.1)


def test_a_copy_of_a_near_duplicate_names_the_reply_that_passes() -> None:
    longest = prose(200, "a")
    shorter = altered(longest, 0.01, 1)[:-9]
    opinions = ask([shorter, shorter, longest])
    assert told(opinions) == [NEAR, NEAR, PASS]
    assert {o.details["representative"] for o in opinions[:2]} == {"row:2"}
    assert opinions[0].score == opinions[1].score != 1.0


def test_whoever_fails_is_similar_to_a_reply_that_passes() -> None:
    # A chain: each is near the one before, the last is far from the first.
    chain = [prose(300, "chain")]
    for i in range(12):
        chain.append(altered(chain[-1], 0.02, i))
    opinions = ask(chain)
    passed = {f"row:{i}" for i, o in enumerate(opinions) if o.outcome == "pass"}
    failed = [o for o in opinions if o.outcome == "fail"]
    assert len(passed) > 1 and failed
    assert all(o.details["representative"] in passed and (o.score or 0) >= 0.8 for o in failed)


def test_a_reply_that_was_cut_off_stands_for_nobody() -> None:
    text = prose(100, "a")
    whole, cut = Sample(text=text, trajectory_id="9"), Sample(text=text, trajectory_id="1", finish_reason="length")
    assert told(DuplicateCheck()([cut, whole])) == [EXACT, PASS]
    assert told(DuplicateCheck()([cut, cut])) == [PASS, PASS]


def test_a_number_more_or_a_sign_less_is_no_exact_duplicate() -> None:
    assert told(ask(["5 - 3", "5 + 3", "5 3", "5 - 3 = 2"])) == [PASS] * 4
    assert told(ask(["a", "a \x00"])) == [PASS, PASS]
    assert sorted(told(ask(["A b", "a b"]))) == [NEAR, PASS]


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    text = "从前有座山山里有座庙庙里有个老和尚在给小和尚讲故事他说很久很久以前天下大旱井里没有一滴水人们只好往北走"
    opinions = ask([text, text[:-1], text[::-1]])
    assert told(opinions) == [PASS, NEAR, PASS]


def test_within_one_prompt_the_same_answer_to_another_is_no_duplicate() -> None:
    samples = [Sample(text="It is 4.", prompt=p, trajectory_id=str(i)) for i, p in enumerate("aba")]
    assert told(DuplicateCheck()(samples)) == [PASS, EXACT, EXACT]
    assert told(DuplicateCheck(within="prompt")(samples)) == [PASS, PASS, EXACT]
    long = prose(100, "a")
    samples = [Sample(text=altered(long, 0.01, i), prompt=p, trajectory_id=str(i)) for i, p in enumerate("aba")]
    assert Counter(told(DuplicateCheck(within="prompt")(samples))) == {PASS: 2, NEAR: 1}


@pytest.mark.parametrize(
    "text",
    ["\x00", "🙂🙂🙂", "שלום עולם", "\ud800 alone", "e\u0301", "word " * 200_000, "x" * 1_000_000, "\U000e0001", "ﷺ"],
)
def test_odd_texts_have_a_verdict_and_a_copy_of_theirs_is_found(text: str) -> None:
    assert told(ask([text, "something else", text])) == [PASS, PASS, EXACT]


def test_texts_without_words_are_undecided_and_no_texts_are_no_opinions() -> None:
    assert told(ask(["", " \n\t\u3000", "a"])) == [NO_WORDS, NO_WORDS, PASS]
    assert ask([]) == []


# Letters, marks and signs that compose in several ways, few enough to come out the same now and then.
TEXTS = st.lists(
    st.text(alphabet="ab é\u0301\n-가漢\ud800\x00", max_size=12) | st.sampled_from([prose(60, i) for i in range(3)])
)


@settings(max_examples=60)
@given(TEXTS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_order_nor_batches_nor_composition_change_what_is_said_of_a_text(
    texts: list[str], chance: random.Random, size: int
) -> None:
    texts = texts + [altered(t, 0.02, i) for i, t in enumerate(texts) if len(t) > 50]
    before = Counter(zip(map(normal, texts), told(ask(texts)), strict=True))
    chance.shuffle(texts)
    comparison = DuplicateCheck().comparison()
    for start in range(0, len(texts), size):
        form = chance.choice(["NFC", "NFD"])
        batch = texts[start : start + size]
        comparison.add([Sample(text=unicodedata.normalize(form, t)) for t in batch])  # type: ignore[arg-type]
    opinions = dict(comparison.opinions())
    assert sorted(opinions) == list(range(len(texts)))
    after = told([opinions[i] for i in range(len(texts))])
    assert Counter(zip(map(normal, texts), after, strict=True)) == before


def test_what_passed_before_still_passes_and_stands_for_what_comes() -> None:
    short, longer = prose(100, "a"), prose(100, "a") + " more"
    comparison = DuplicateCheck().comparison()
    comparison.add([Sample(text=longer, trajectory_id="new"), Sample(text=short, trajectory_id="copy")])
    comparison.add([Sample(text=short, trajectory_id="old")], settled=True)
    found = dict(comparison.opinions())
    assert told([found[0], found[1]]) == [NEAR, EXACT] and len(found) == 2
    assert {o.details["representative"] for o in found.values()} == {"old"}


def test_what_is_left_after_a_cut_is_judged_as_it_would_have_been() -> None:
    texts = [altered(prose(150, i % 7), 0.005 * (i % 5), i) for i in range(40)]
    samples = [Sample(text=t, trajectory_id=str(i)) for i, t in enumerate(texts)]
    whole = DuplicateCheck().comparison()
    whole.add(samples)
    given = list(whole.opinions())
    for cut in (1, 9, 25):
        done = given[:cut]
        rest = DuplicateCheck().comparison()
        left = sorted(set(range(len(samples))) - {i for i, _ in done})
        rest.add([samples[i] for i in left])
        rest.add([samples[i] for i, o in done if o.outcome == "pass"], settled=True)
        assert dict(done) | {left[i]: o for i, o in rest.opinions()} == dict(given)


def test_planted_near_duplicates_are_found_and_others_are_not() -> None:
    pairs = [
        (prose(250, i), altered(prose(250, i), share, i)) for share in (0.0, 0.01, 0.03, 0.1, 0.2) for i in range(40)
    ]
    for i, (one, other) in enumerate(pairs):
        similar = jaccard(one, other)
        failed = any(o.outcome == "fail" for o in ask([one, other]))
        # Three standard errors on either side of the threshold.
        if not 0.7 < similar < 0.9:
            assert failed == (similar > 0.8), (i, similar)


def test_the_estimate_is_that_of_the_jaccard_similarity() -> None:
    pairs = [(prose(200, i), altered(prose(200, i), i / 1000, i)) for i in range(100)]
    made, _ = signatures([t for pair in pairs for t in pair])
    true = np.array([jaccard(*pair) for pair in pairs])
    errors = (similarity(made[::2], made[1::2]) - true) / np.sqrt(np.maximum(true * (1 - true), 0.01) / NUMBERS)
    assert abs(errors.mean()) < 0.4 and 0.6 < errors.std() < 1.3


def test_a_texts_signature_never_changes() -> None:
    # Verdicts of years hang on it: another one needs another number of DuplicateCheck.RULES.
    made, words = signatures([normal("Der Ärger: 漢字 🙂 and 5 - 3 = 2"), "x", " ".join(map(str, range(200)))])
    assert words.tolist() == [12, 1, 200]
    assert made[:, :2].tolist() == [[3267237379, 1850279295], [3494038360, 2445815347], [650585738, 1055112933]]


def test_where_many_meet_each_is_compared_with_few_and_copies_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half the numbers are the same for all, so that all meet, and none is similar enough but the copies.
    made = np.random.default_rng(1).integers(0, 2**32, (300, NUMBERS), np.uint32)
    made[:, : NUMBERS // 2] = 7
    made[-1], made[-2] = made[0], made[200]
    compared: list[int] = []

    def counted(one: U32, others: U32) -> Any:
        compared.append(len(others))
        return similarity(one, others)

    monkeypatch.setattr(near, "similarity", counted)
    leader, score = leaders(made, 0.8, np.zeros(300, np.uint64), stands=np.ones(300, bool), fixed=0)
    assert leader.tolist() == [*range(298), 200, 0] and score[-2:].tolist() == [1.0, 1.0]
    assert near.MOST <= max(compared) <= near.MOST + 1


def test_components_join_what_a_chain_connects() -> None:
    chain = [prose(300, "chain")]
    for i in range(12):
        chain.append(altered(chain[-1], 0.01, i))
    assert jaccard(chain[0], chain[-1]) < 0.6
    made, _ = signatures([prose(300, "other"), *chain])
    assert components(made, 0.8, np.zeros(14, np.uint64)).tolist() == [0] + [1] * 13


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": 0.3}, {"within": "file"}])
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DuplicateCheck(**wrong)


def test_it_is_a_check_of_sets_and_naming_a_default_is_no_other_version() -> None:
    check = load_check("duplicate", {"threshold": 0.8, "within": "all"})
    assert isinstance(check, SetCheck) and not isinstance(load_check("length"), SetCheck)
    assert check.version == load_check("duplicate").version == "1"
    assert load_check("duplicate", {"threshold": 0.9}).version != "1"
