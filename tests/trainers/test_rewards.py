"""Reward functions against replies written by hand, hostile ones too, and what comes of functions that misbehave."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigError, RewardError
from trainers.reward_functions import Accuracy, Format, Language
from trainers.rewards import RewardSpec, load_rewards

THINK = "<think>\nWe add the two numbers, 3 + 4, which makes 7.\n</think>\n"


@pytest.fixture(scope="module")
def accuracy() -> Iterator[Callable[..., list[float | None]]]:
    """Asks about replies to "3 + 4", all of them at once; keyword arguments are columns of all."""
    opened = {form: Accuracy(form=form) for form in ("marked", "any")}  # type: ignore[arg-type]

    def ask(*replies: Any, form: str = "marked", **columns: Any) -> list[float | None]:
        rows: dict[str, Any] = {"reference": "7", "verifier": "math", **columns}
        lists = {name: [value] * len(replies) for name, value in rows.items()}
        return opened[form]([[{"role": "user", "content": "3 + 4?"}]] * len(replies), replies, **lists)

    yield ask
    for function in opened.values():
        function.close()


def test_a_marked_answer_is_right_or_wrong(accuracy: Callable[..., list[float | None]]) -> None:
    assert accuracy(
        f"{THINK}<answer>7</answer>", f"{THINK}\\boxed{{7}}", f"{THINK}<answer>8</answer>", f"{THINK}It is 7."
    ) == [1.0, 1.0, 0.0, 0.0]


def test_any_form_counts_where_the_model_keeps_none(accuracy: Callable[..., list[float | None]]) -> None:
    assert accuracy("3 + 4 = 7", "The answer is 7.", "It is 8.", form="any") == [1.0, 1.0, 0.0]


def test_replies_come_as_trl_hands_them_over(accuracy: Callable[..., list[float | None]]) -> None:
    assert accuracy(
        [{"role": "assistant", "content": f"{THINK}<answer>7</answer>"}],
        [{"role": "assistant", "reasoning_content": "3 + 4", "content": "<answer>7</answer>"}],
        [{"role": "assistant", "content": None}],
    ) == [1.0, 1.0, 0.0]


def test_no_reward_where_neither_right_nor_wrong_can_be_told(accuracy: Callable[..., list[float | None]]) -> None:
    reply = f"{THINK}<answer>7</answer>"
    assert accuracy(reply, reference=None) == [None]
    assert accuracy(reply, reference=" ") == [None]
    assert accuracy(reply, verifier=None) == [None]
    assert accuracy(reply, verifier="choice", reference="seven") == [None], "the reference is no option"
    assert accuracy(f"{THINK}<answer>who knows, really</answer>", reference="\\frac{1}{3}") == [None]


@pytest.mark.parametrize("form", ["marked", "any"])
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_a_reply_without_an_answer_is_wrong(
    accuracy: Callable[..., list[float | None]], form: str, reason: str
) -> None:
    replies = ("", "<think>\n3 + 4 makes", "<think>", THINK)
    assert accuracy(*replies, form=form, finish_reason=reason) == [0.0] * 4


def test_a_cut_reply_is_worth_what_it_says_so_far(accuracy: Callable[..., list[float | None]]) -> None:
    replies = ("The answer is 7. Let me", "<think>\nIt is \\boxed{7}, but", "It may be x or")
    assert accuracy(*replies, form="any", finish_reason="length") == [1.0, 1.0, 0.0]
    odd = {"form": "any", "reference": "x^2"}
    assert accuracy("who knows, really", finish_reason="length", **odd) == [0.0]
    assert accuracy("who knows, really", finish_reason="stop", **odd) == [None]


def test_programs_stand_in_a_fence_or_a_tag(accuracy: Callable[..., list[float | None]]) -> None:
    program = "def f():\n    return 7"
    columns = {
        "verifier": "code",
        "metadata": '{"verify": {"language": "python", "entry_point": "f", "tests": ["assert f() == 7"]}}',
    }
    replies = (f"```python\n{program}\n```", f"<answer>\n{program}\n</answer>", program, "No program.")
    told = accuracy(*replies, **columns)
    # Where there is no sandbox nothing can be told of what would run.
    assert told in ([1.0, 1.0, 0.0, 0.0], [None, None, None, 0.0])


def test_rules_are_about_the_whole_reply(accuracy: Callable[..., list[float | None]]) -> None:
    rules = {"verify": {"instructions": [{"id": "punctuation:no_comma"}]}}
    assert accuracy("No such sign", "Yes, one", verifier="instructions", metadata=rules) == [1.0, 0.0]


HOSTILE = [
    "<answer>" * 20_000,
    "</think>" * 20_000 + "<answer>7",
    "\\boxed{" * 20_000 + "7",
    "<answer>9^{9^{9^{9^9}}}</answer>",
    "<answer>__import__('os').system('true')</answer>",
    "\ud800\x00<answer>\ud800</answer>",
    "<answer>7</answer>" * 2 + "<answer>8</answer>",
    "\u202e7\u202c" * 1000,
]


def test_hostile_replies_never_raise_and_never_win(accuracy: Callable[..., list[float | None]]) -> None:
    told = accuracy(*HOSTILE)
    assert len(told) == len(HOSTILE)
    assert 1.0 not in told[2:]
    assert set(Format(answer_tag="required")([""] * len(HOSTILE), HOSTILE)) == {0.0}
    shares = Language()([""] * len(HOSTILE), HOSTILE, language=["en"] * len(HOSTILE))
    assert shares == [0.0] * len(HOSTILE), "none has any reasoning"


def test_the_form_of_r1_zero_asks_for_both_tags() -> None:
    replies = [
        f"{THINK}<answer>7</answer>",
        f"{THINK}It is 7.",
        "<answer>7</answer>",
        "<think>\n3 + 4",
        "Well: " + THINK + "7",
        THINK,
    ]
    assert Format()([""] * 6, replies) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert Format(answer_tag="required")([""] * 6, replies) == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_language_is_the_share_of_words_in_the_reasoning_alone() -> None:
    half = "The answer is seven. Die Antwort ist sieben."
    replies = [
        f"<think>\n{half}\n</think>\nDie Antwort ist sieben.",
        f"<think>\n{half}\n</think>\nThe answer is seven.",
        f"<think>\n{half}",
        "The answer is seven.",
        "<think>\n$3 + 4 = 7$\n</think>\n7",
    ]
    language = Language()
    assert language([""] * 5, replies, language=["en"] * 5) == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert language([""], replies[:1], language=["de"]) == [0.5]
    assert language([""] * 2, replies[:2], language=["", None]) == [None, None]


def test_parts_are_summed_by_weight_and_none_is_never_zero() -> None:
    specs = [
        RewardSpec.model_validate("accuracy"),
        RewardSpec(name="format", params={"answer_tag": "required"}),
        RewardSpec(name="language", weight=0.5),
    ]
    replies = [f"{THINK}<answer>7</answer>", f"{THINK}<answer>8</answer>", f"{THINK}<answer>7</answer>"]
    with load_rewards(specs) as rewards:
        told = rewards(["3 + 4?"] * 3, replies, reference=["7", "7", None], verifier=["math"] * 3, language=["en"] * 3)
    assert told.parts == {"accuracy": [1.0, 0.0, None], "format": [1.0] * 3, "language": [1.0] * 3}
    assert told.sums == [2.5, 1.5, None]
    assert [v.opinion.outcome for v in told.verified if v] == ["pass", "fail", "undecided"]
    assert [p.check for p in rewards.parts] == ["reward_accuracy", "reward_format", "reward_language"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the current folder, with a function of the user's."""
    (tmp_path / "my_rewards.py").write_text(
        "def brevity(prompts, completions, top=1.0, odd=None, **columns):\n"
        "    return odd[0] if odd else [top / len(c) for c in completions]\n"
        "limit = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)


@pytest.mark.usefixtures("own")
def test_a_function_of_the_users_is_called_by_its_name() -> None:
    rewards = load_rewards([RewardSpec(name="my_rewards:brevity", weight=2, params={"top": 3})])
    told = rewards(["a", "b"], ["123", "123456"])
    assert told.parts == {"brevity": [1.0, 0.5]}
    assert told.sums == [2.0, 1.0]


@pytest.mark.usefixtures("own")
def test_a_part_of_weight_zero_is_measured_and_not_summed() -> None:
    rewards = load_rewards([RewardSpec(name="format"), RewardSpec(name="my_rewards:brevity", weight=0)])
    told = rewards(["a", "b"], [f"{THINK}7", "12"], odd=[[None, 3], None])
    assert told.parts["brevity"] == [None, 3.0]
    assert told.sums == [1.0, 0.0]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ([1.0], "returned 1 values for 2 samples, none for sample 2 of 2, prompt beef"),
        ([1.0, 2.0, 3.0], "returned 3 values for 2 samples; the last is sample 2 of 2, prompt beef"),
        ([1.0, float("nan")], "returned nan for sample 2 of 2, prompt beef; a finite number or None is wanted"),
        ([float("inf"), 1.0], "returned inf for sample 1 of 2, prompt cafe; a finite number or None is wanted"),
        (["1.0", 1.0], "returned '1.0' for sample 1 of 2, prompt cafe; a finite number or None is wanted"),
        (7, "returned 7; a list of 2 is wanted"),
    ],
)
def test_what_is_no_reward_is_named_with_its_sample(odd: Any, said: str) -> None:
    rewards = load_rewards([RewardSpec(name="my_rewards:brevity")])
    with pytest.raises(RewardError) as raised:
        rewards(["a", "b"], ["1", "2"], odd=[odd, odd], prompt_id=["cafe", "beef"])
    assert str(raised.value) == f"reward brevity: {said}"


@pytest.mark.usefixtures("own")
def test_a_function_that_raises_is_named_with_the_sample_it_raised_for() -> None:
    rewards = load_rewards([RewardSpec(name="my_rewards:brevity")])
    with pytest.raises(RewardError) as raised:
        rewards(["a", "b", "c"], ["1", "", "3"], prompt_id=["a" * 64, "b" * 64, "c" * 64])
    assert str(raised.value) == (
        "reward brevity: raised for sample 2 of 3, prompt bbbbbbbbbbbb: ZeroDivisionError: float division by zero"
    )


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("specs", "said"),
    [
        (
            ["accurate"],
            "rewards: there is no 'accurate'; there are: accuracy, format, language, and yours as module:func",
        ),
        ([{"name": "accuracy", "params": {"form": "tag"}}], "reward accuracy: form is 'tag'; it must be marked or any"),
        ([{"name": "language", "params": {"x": 1}}], "reward language: got an unexpected keyword argument 'x'"),
        (["my_rewards:other"], "reward my_rewards:other: cannot be imported: AttributeError"),
        (["nothing_there:f"], "reward nothing_there:f: cannot be imported: ModuleNotFoundError"),
        (["my_rewards:limit"], "reward my_rewards:limit: is a int, not a function"),
        (["format", "format"], "rewards: 'format' stands there twice"),
        ([{"name": "format", "weight": 0}], "rewards: none has a weight other than 0"),
    ],
)
def test_rewards_that_cannot_be_are_refused(specs: list[Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_rewards([RewardSpec.model_validate(spec) for spec in specs])
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    "spec", [{"name": "format", "wight": 2}, "a b", {"name": "format", "weight": float("inf")}, "os.path", 3]
)
def test_a_spec_says_nothing_else(spec: Any) -> None:
    with pytest.raises(ValidationError):
        RewardSpec.model_validate(spec)


def test_a_column_that_is_missing_is_named(accuracy: Callable[..., list[float | None]]) -> None:
    with (
        load_rewards([RewardSpec(name="accuracy")]) as rewards,
        pytest.raises(ConfigError, match="no column 'verifier'"),
    ):
        rewards(["a"], ["b"])
    with pytest.raises(ConfigError, match="there is no check 'maths'"):
        accuracy("7", verifier="maths")
    with pytest.raises(ConfigError, match="check length is a filter"):
        accuracy("7", verifier="length")
