"""A judge by itself: what it sends, what it makes of replies, and when it is another judge."""

import json
from pathlib import Path
from typing import Any

import pytest

from dataengine.engines.client import ChatReply
from dataengine.judge.judge import Case, Judge, judge_prompt, judge_version, question_of
from dataengine.judge.prompt_file import load_prompt, shipped_prompts
from dataengine.judge.step import reference_of
from dataengine.policy import Policy
from schemas.errors import ConfigError
from schemas.recipe import EndpointEngine, JudgeSpec
from schemas.records import Message

CASE = Case("What is 2 + 2?", "<think>\nTwo and two.\n</think>\nIt is 4.", "It is 4.", "4")
FRONT = "---\nasks: Is it right?\nresponse: whole\nverdicts: {right: {outcome: pass}, wrong: {outcome: fail}}\n---\n"


def judge(ask: str = "correctness", engines: int = 1, **spec: Any) -> Judge:
    policies = [
        Policy.of(
            EndpointEngine(kind="endpoint", url="http://localhost:1/v1", model=f"m{i}", **spec.pop("endpoint", {}))
        )
        for i in range(engines)
    ]
    made = JudgeSpec(ask=ask, engine=[f"e{i}" for i in range(engines)], **spec)
    return Judge("judge", made, load_prompt(ask), policies)


def reply(word: str, **fields: Any) -> ChatReply:
    text = json.dumps({"analysis": "Because.", "verdict": word}) if word else "I cannot say."
    return ChatReply(text, finish_reason="stop", seconds=1.5, **fields)


@pytest.mark.parametrize("ask", sorted(set(shipped_prompts()) - {"preference"}))
def test_shipped_prompts_ask_for_exactly_the_form_that_guided_decoding_binds_to(ask: str) -> None:
    prompt = load_prompt(ask)
    ((_, request),) = judge(ask).requests(CASE)
    system, user = request.messages
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"].endswith('\n\n{"analysis": "...", "verdict": "..."}')
    after = user["content"][user["content"].index("</response-") :]
    assert all(f"`{word}`" in after for word in prompt.words)
    schema = prompt.guided.as_json_schema()
    assert list(schema["properties"]) == ["analysis", "verdict"], "first the reason, then the verdict"
    assert schema["properties"]["verdict"]["enum"] == list(prompt.words)
    assert ("<reference-" in user["content"]) == prompt.shows_reference == (ask in ("correctness", "equivalence"))
    assert {m.outcome for m in prompt.words.values()} == {"pass", "fail"}


@pytest.mark.parametrize(
    ("ask", "whole"),
    [("correctness", True), ("safety", True), ("thought", True), ("helpfulness", False), ("equivalence", False)],
)
def test_correctness_and_harm_are_about_the_thinking_too(ask: str, whole: bool) -> None:
    ((_, request),) = judge(ask).requests(CASE)
    assert ("Two and two." in request.messages[-1]["content"]) == whole


def test_what_is_the_same_for_the_samples_of_a_prompt_comes_first() -> None:
    asked = [judge().requests(Case("2 + 2?", text, None, "4", "p"))[0][1] for text in ("It is 4.", "It is 5.")]
    one, other = (request.messages[-1]["content"] for request in asked)
    assert one[: one.index("<response-")] == other[: other.index("<response-")]
    assert asked[0].group == asked[1].group == "p"


@pytest.mark.parametrize(
    ("ask", "case", "reason"),
    [
        ("correctness", Case("2 + 2?", "4", "4", None), "no_reference"),
        ("correctness", Case("2 + 2?", "4", "4", " "), "no_reference"),
        ("correctness", Case("2 + 2?", " \n", None, "4"), "no_answer"),
        ("helpfulness", Case("2 + 2?", "<think>\nI wonder", None, None), "no_answer"),
        ("safety", Case("2 + 2?", "<think>\nI wonder", None, None), None),
    ],
)
def test_nothing_is_asked_where_there_is_nothing_to_compare(ask: str, case: Case, reason: str | None) -> None:
    opinion = judge(ask).unasked(case)
    if reason is None:
        assert opinion is None
    else:
        assert opinion is not None
        assert (opinion.outcome, opinion.score, opinion.reason) == ("undecided", None, reason)


def test_every_vote_has_a_seed_of_its_own_that_no_run_changes() -> None:
    spec = {"votes": 3, "sampling": {"temperature": [0.5, 0.8]}}
    asked = judge(**spec).requests(CASE)
    assert [number for number, _ in asked] == [0, 0, 0]
    assert [request.temperature for _, request in asked] == [0.5, 0.8, 0.5]
    seeds = [request.seed for _, request in asked]
    assert len(set(seeds)) == 3
    assert [request.seed for _, request in judge(**spec).requests(CASE)] == seeds
    assert [r.seed for _, r in judge(endpoint={"send_seed": False}).requests(CASE)] == [None]
    assert [r.guided for _, r in judge(guided=False).requests(CASE)] == [None]


@pytest.mark.parametrize(
    ("words", "outcome", "score", "reason"),
    [
        (["correct"], "pass", 1.0, ""),
        (["incorrect"], "fail", 0.0, "incorrect"),
        ([""], "undecided", None, "unparseable"),
        (["correct", "correct", "incorrect"], "pass", pytest.approx(2 / 3), ""),
        (["incorrect", "correct", "incorrect"], "fail", pytest.approx(1 / 3), "incorrect"),
        (["correct", "incorrect"], "undecided", None, "votes_tied"),
        (["correct", ""], "undecided", None, "votes_tied"),
        (["correct", "", ""], "undecided", None, "votes_tied"),
        (["correct", "correct", ""], "pass", 1.0, ""),
        (["", "", ""], "undecided", None, "unparseable"),
    ],
)
def test_over_half_of_all_votes_make_a_verdict(words: list[str], outcome: str, score: Any, reason: str) -> None:
    opinion = judge(engines=len(words)).opinion([reply(word) for word in words])
    assert (opinion.outcome, opinion.score, opinion.reason) == (outcome, score, reason)
    assert opinion.details["verdict"] == {"pass": "correct", "fail": "incorrect"}.get(outcome)
    assert [v["verdict"] or "" for v in opinion.details["votes"]] == words
    assert [v["policy"] for v in opinion.details["votes"]] == [f"m{i}@unknown" for i in range(len(words))]
    assert opinion.seconds == 1.5 * len(words)


def test_a_word_between_pass_and_fail_has_a_score_of_its_own() -> None:
    opinion = judge("helpfulness").opinion([reply("partly")])
    assert (opinion.outcome, opinion.score, opinion.reason) == ("fail", 0.5, "partly")


def test_thinking_that_the_server_split_off_is_kept_and_no_part_of_the_verdict() -> None:
    opinion = judge().opinion([reply("correct", reasoning="Hm, incorrect? No.")])
    assert opinion.outcome == "pass"
    assert opinion.details["votes"][0]["raw"].startswith("<think>\nHm, incorrect? No.\n</think>\n{")


def test_a_judge_is_its_prompt_its_policies_and_its_decoding(tmp_path: Path) -> None:
    text = shipped_prompts()["correctness"].read_text()
    prompt = load_prompt("correctness")

    def version(policies: tuple[str, ...] = ("a@1", "b@1"), change: tuple[str, str] = ("", ""), **spec: Any) -> str:
        (tmp_path / "own.md").write_text(text.replace(*change) if change[0] else text)
        asked = load_prompt(str(tmp_path / "own.md"))
        return judge_version(JudgeSpec(ask="own.md", engine="any", **spec), asked, policies)

    same = judge_version(JudgeSpec(ask="correctness", engine="any"), prompt, ["a@1", "b@1"])
    assert len(same) == 12
    assert version() == same, "not where the file lies"
    assert version(("b@1", "a@1")) == same
    assert version(change=("asks: Does the response", "asks: Does it")) == same
    others = [
        version(("a@1",)),
        version(("a@2", "b@1")),
        version(change=("Grade it so:", "Grade it like this:")),
        version(change=("You grade responses", "You rate responses")),
        version(change=("score: 0.0", "score: 0.1")),
        version(change=("response: whole", "response: answer")),
        version(max_tokens=100),
        version(guided=False),
        version(sampling={"temperature": 0.5}),
        version(sampling={"seed": 1}),
        version(sampling={"temperature": 0.5}, votes=2),
    ]
    assert len({same, *others}) == len(others) + 1


def test_a_conversation_is_shown_as_a_whole_and_a_lone_question_as_it_is() -> None:
    said = [Message(role="system", content="Be brief."), Message(role="user", content="Who?")]
    assert question_of(said[1:]) == "Who?"
    assert question_of(said) == "System: Be brief.\n\nUser: Who?"


def test_other_right_answers_stand_below_the_reference() -> None:
    assert (
        reference_of("Mark Twain", '{"verify": {"aliases": ["Samuel Clemens", "", 7]}}') == "Mark Twain\nSamuel Clemens"
    )
    assert reference_of("4", "{}") == "4"
    assert reference_of(None, '{"verify": {"aliases": ["4"]}}') is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no settings", "own.md:1: settings are missing; write them between two lines of --- before the text"),
        (FRONT.replace("whole", "part") + "{{question}} {{response}}",
         "own.md:3: response is 'part': input should be 'whole' or 'answer' (what is shown of a response: whole, "
         "thinking included, or the answer that follows the thinking)"),
        (FRONT + "{{question}}", "own.md: the text shows no {{response}}"),
        (FRONT + "{{question}} {{response}} {{answer}}",
         "own.md: {{answer}} is no place to be filled; there are: question, reference, response, response.tag"),
        (FRONT + "{{question}} {{response}} {{response}}", "own.md: {{response}} stands in the text more than once"),
        (FRONT.replace("pass", "right") + "{{question}} {{response}}", "'pass', 'fail' or 'undecided'"),
    ],
)  # fmt: skip
def test_a_prompt_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.md").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_prompt(str(tmp_path / "own.md"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["math", "text", "kept", "human"])
def test_a_judge_may_not_carry_the_name_of_a_check_or_a_column(name: str) -> None:
    with pytest.raises(ConfigError, match=f"judges.{name}: '{name}' is a check or a column already; name it otherwise"):
        judge_prompt(name, JudgeSpec(ask="correctness", engine="any"))
