"""Each rule on instructions is followed by some replies and broken by others; what cannot be told is undecided."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.sources.files import prompts_of
from dataengine.verify import prose
from dataengine.verify.instructions import RULES, InstructionsCheck, rules_of
from schemas.recipe import FileSource

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "nonreasoning" / "ifeval" / "data"

ENGLISH = "The river was quiet in the morning and nobody had come to the bridge yet."
GERMAN = "Am Morgen war der Fluss still und noch niemand war zur Brücke gekommen."
MARATHI = "सकाळी नदी शांत होती आणि अजून कोणीही पुलावर आले नव्हते. आम्ही बराच वेळ वाट पाहत होतो."
HINDI = "सुबह नदी शांत थी और अभी तक कोई भी पुल पर नहीं आया था। हम बहुत देर तक इंतज़ार करते रहे।"
SWAHILI = (
    "Habari za asubuhi. Jina langu ni Juma na ninaishi Nairobi. Leo ningependa kukueleza kuhusu umuhimu wa elimu "
    "katika jamii yetu. Elimu ni ufunguo wa maisha na kila mtoto anapaswa kwenda shule."
)
# The model is less sure of this.
SWAHILI_TOO = (
    "Elimu ni ufunguo wa maisha na kila mtoto anapaswa kwenda shule. Wazazi wanapaswa kuwasaidia watoto wao kusoma "
    "kila siku nyumbani. Serikali pia ina jukumu la kujenga shule nyingi na kuajiri walimu wazuri."
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "punctuation:no_comma": {},
    "length_constraints:number_words": {"num_words": 3, "relation": "at least"},
    "length_constraints:number_sentences": {"num_sentences": 3, "relation": "less than"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": 2,
        "nth_paragraph": 2,
        "first_word": "Weekend",
    },
    "keywords:existence": {"keywords": ["cat", "Mr. X"]},
    "keywords:frequency": {"keyword": "cat", "frequency": 2, "relation": "at least"},
    "keywords:forbidden_words": {"forbidden_words": ["rock", "c++", "东京"]},
    "keywords:letter_frequency": {"letter": "Q", "let_frequency": 2, "let_relation": "less than"},
    "detectable_format:number_highlighted_sections": {"num_highlights": 2},
    "detectable_format:title": {},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:json_format": {},
    "detectable_format:multiple_sections": {"section_spliter": "SECTION", "num_sections": 2},
    "detectable_format:constrained_response": {},
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.S."},
    "combination:repeat_prompt": {"prompt_to_repeat": "Name a river. "},
    "combination:two_responses": {},
    "startend:quotation": {},
    "startend:end_checker": {"end_phrase": "Any other questions?"},
    "change_case:english_lowercase": {},
    "change_case:english_capital": {},
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "at least"},
    "language:response_language": {"language": "de"},
}

FOLLOWED = [
    ("punctuation:no_comma", "One; two - and three."),
    ("length_constraints:number_words", "One two, three"),
    ("length_constraints:number_words", "don't go"),  # three runs of letters
    ("length_constraints:number_sentences", "Dr. Smith paid $3.50 at 5 p.m. on Jan. 5. He left."),
    ("length_constraints:number_sentences", "1. First\n2. Second\n3. Third"),
    ("length_constraints:number_paragraphs", "One.\n***\nTwo."),
    ("length_constraints:number_paragraphs", "***\nOne *** Two.\n***"),
    ("length_constraints:nth_paragraph_first_word", "One.\n\nWeekend trips."),
    ("length_constraints:nth_paragraph_first_word", "One.\n\n\n\n“weekend”: trips."),  # IFEval numbers the empty one
    ("length_constraints:nth_paragraph_first_word", "One.\n \nWeekend's end."),
    ("keywords:existence", "A CATEGORY of mr. x"),
    ("keywords:frequency", "Cat and concatenate"),
    ("keywords:forbidden_words", "A rocky c"),
    ("keywords:letter_frequency", "Quiet"),
    ("detectable_format:number_highlighted_sections", "*one* and **two**"),
    ("detectable_format:number_highlighted_sections", "* **One: **text\n* ***two***"),
    ("detectable_format:title", "Here: <<poem of joy>>\nText"),
    ("detectable_format:number_bullet_lists", "* one\n---\n  - two\n*Note*\n-5 degrees"),
    ("detectable_format:json_format", '```JSON\n{"a": [1, 2.5e3]}\n```'),
    ("detectable_format:json_format", "1" * 5_000),
    ("detectable_format:multiple_sections", "SECTION 1\nx\nSECTION 2\ny SECTION3"),
    ("detectable_format:constrained_response", "My answer is maybe. It depends."),
    ("detectable_content:number_placeholders", "Dear [name], come to [address]."),
    ("detectable_content:postscript", "Bye.\n\np. s. Write soon."),
    ("combination:repeat_prompt", "\nname a River. The Rhine."),
    ("combination:two_responses", "One.\n******\nTwo.\n******"),
    ("startend:quotation", ' "All of it." '),
    ("startend:quotation", "“All of it.”"),
    ("startend:end_checker", 'So it is. any other QUESTIONS?" \n'),
    ("change_case:english_lowercase", ENGLISH.lower()),
    ("change_case:english_capital", ENGLISH.upper()),
    ("change_case:capital_word_frequency", "NASA's COVID-19 report"),
    ("change_case:capital_word_frequency", "I live in the U.S. now"),
    ("language:response_language", GERMAN),
    ("language:response_language", GERMAN.upper()),
]

BROKEN = [
    ("punctuation:no_comma", "1,000", "1 comma, asked less than 1"),
    ("punctuation:no_comma", "一，二、三", "2 commas, asked less than 1"),
    ("length_constraints:number_words", "Well done", "2 words, asked at least 3"),
    ("length_constraints:number_words", "सकाळी नदी", "2 words, asked at least 3"),  # vowel signs do not part words
    ("length_constraints:number_sentences", "One. Two! Three", "3 sentences, asked less than 3"),
    ("length_constraints:number_paragraphs", "One.\n\nTwo.", "1 paragraph, asked 2"),
    ("length_constraints:number_paragraphs", "One.***  ***Two.", "an empty paragraph between two dividers"),
    ("length_constraints:nth_paragraph_first_word", "Weekend.\n\nTwo.", "paragraph 2 begins 'Two.', asked 'Weekend'"),
    (
        "length_constraints:nth_paragraph_first_word",
        "One.\n\nWeekend-long",
        "paragraph 2 begins 'Weekend-long', asked 'Weekend'",
    ),
    ("length_constraints:nth_paragraph_first_word", "One.\nWeekend.", "1 paragraph, asked 2"),
    ("keywords:existence", "A cat of MrX X", "missing: Mr. X"),  # no regular expression
    ("keywords:frequency", "One cat", "1 'cat', asked at least 2"),
    ("keywords:forbidden_words", "A Rock.", "found: rock"),
    ("keywords:forbidden_words", "Use C++, 我在东京", "found: c++, 东京"),
    ("keywords:letter_frequency", "Quite a question", "2 'Q', asked less than 2"),
    ("detectable_format:number_highlighted_sections", "* **one** 2 * 3 * 4", "1 highlight, asked at least 2"),
    ("detectable_format:title", "<<  >>\n<< a\n b >> <title>", "no <<title>>"),
    ("detectable_format:number_bullet_lists", "* one\n- two\n* three", "3 bullets, asked 2"),
    ("detectable_format:json_format", '{"a": NaN}', "not JSON: NaN is no value"),
    (
        "detectable_format:json_format",
        'Sure: {"a": 1}',
        "not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    (
        "detectable_format:multiple_sections",
        "Section 1, SECTION 2, SECTION x",
        "1 'SECTION N', asked at least 2",
    ),
    (
        "detectable_format:constrained_response",
        "Yes.",
        "none of: My answer is yes. My answer is no. My answer is maybe.",
    ),
    ("detectable_content:number_placeholders", "[] [ ] [[name]]", "1 placeholder, asked at least 2"),
    ("detectable_content:postscript", "PS: tips. Soon.", "no P.S."),
    ("combination:repeat_prompt", "Sure. Name a river. The Rhine.", "begins 'Sure. Name a river. The Rhine.'"),
    ("combination:two_responses", "One.\n******\nOne.", "the same response twice"),
    ("combination:two_responses", "One.\n******\nTwo.\n******\nThree.", "3 responses, asked 2"),
    ("combination:two_responses", "One.************Two.", "an empty response between two dividers"),
    ("startend:quotation", '"', "begins '\"', ends '\"'"),
    ("startend:quotation", '"Yes," he said.', "begins '\"Yes,\" he …', ends '\" he said.'"),
    ("startend:end_checker", "Any other questions? No.", "ends 'Any other questions? No.'"),
    ("change_case:english_lowercase", ENGLISH, "the capital letter T"),
    ("change_case:english_lowercase", GERMAN.lower(), "100% of the words in another language, asked en"),
    ("change_case:english_capital", ENGLISH.upper() + " so", "the small letter s"),
    ("change_case:english_capital", GERMAN.upper(), "100% of the words in another language, asked en"),
    ("change_case:capital_word_frequency", "One BIG word", "1 capital word, asked at least 2"),
    ("language:response_language", f"{GERMAN} {GERMAN} {ENGLISH}", "37% of the words in another language, asked de"),
]


def ask(reply: str, *rules: dict[str, Any], loose: bool = False, **sample: Any) -> Opinion:
    metadata = {"verify": {"instructions": list(rules)}}
    (opinion,) = InstructionsCheck(loose=loose)([Sample(**{"text": reply, "metadata": metadata} | sample)])
    return opinion


def rule(name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": name} | (arguments or ARGUMENTS[name])


def test_every_rule_has_a_reply_that_follows_it_and_one_that_breaks_it() -> None:
    assert len(RULES) == 25
    assert {name for name, _ in FOLLOWED} == {name for name, _, _ in BROKEN} == set(ARGUMENTS) == set(RULES)


@pytest.mark.parametrize(("name", "reply"), FOLLOWED)
def test_a_rule_that_is_followed_passes(name: str, reply: str) -> None:
    opinion = ask(reply, rule(name))
    assert (opinion.outcome, opinion.score) == ("pass", 1.0), opinion
    assert opinion.details == {"rules": 1, "followed": 1, "not_followed": []}


@pytest.mark.parametrize(("name", "reply", "message"), BROKEN)
def test_a_rule_that_is_broken_fails_and_says_what_was_found(name: str, reply: str, message: str) -> None:
    opinion = ask(reply, rule(name))
    assert (opinion.outcome, opinion.score, opinion.reason) == ("fail", 0.0, "not_followed"), opinion
    assert opinion.details["not_followed"] == [{"id": name, "message": message}]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. two. Three!", ["One.", "two.", "Three!"]),
        ("Wait... what?! Yes… No.", ["Wait... what?!", "Yes…", "No."]),
        ('"Go!" he said. (It is so.) "Why?" She left.', ['"Go!" he said.', "(It is so.)", '"Why?"', "She left."]),
        ("stop! go away. now.", ["stop!", "go away.", "now."]),
        ("“stop!” go away.", ["“stop!”", "go away."]),
        ("Mrs. J. Doe vs. St. Paul, No. 5, Fig. 2.", ["Mrs. J. Doe vs. St. Paul, No. 5, Fig. 2."]),
        ("No. I was there. It was I. Then", ["No.", "I was there.", "It was I.", "Then"]),
        ("Pears, etc. are here. Apples etc. Then more.", ["Pears, etc. are here.", "Apples etc.", "Then more."]),
        ("In the U.S. Army, e.g. now, pi is 3.1. See a.com.", ["In the U.S. Army, e.g. now, pi is 3.1.", "See a.com."]),
        ("As follows:\n1. One\n2. Two.\n\na. Three", ["As follows:\n1. One\n2. Two.", "a. Three"]),
        ("# Title\n\nText here.\n***\n...", ["# Title\n\nText here."]),
        ("**Bold.** Next _one?_", ["**Bold.**", "Next _one?_"]),
        ("今天很好。明天呢？“好！”走吧", ["今天很好。", "明天呢？", "“好！”", "走吧"]),
        ("वह आया। हम गए॥", ["वह आया।", "हम गए॥"]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text: str, parts: list[str]) -> None:
    assert prose.sentences(text) == parts


def test_some_of_the_rules_followed_is_a_fail_with_their_share() -> None:
    opinion = ask(
        "One, two.", rule("punctuation:no_comma"), rule("startend:quotation"), rule("keywords:letter_frequency")
    )
    assert (opinion.outcome, opinion.score) == ("fail", 1 / 3)
    assert opinion.details["followed"] == 1
    assert [n["id"] for n in opinion.details["not_followed"]] == ["punctuation:no_comma", "startend:quotation"]


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ([{"id": "a:rhyme"}], "instructions.0: there is no rule 'a:rhyme'; docs/verification.md lists them"),
        ([rule("startend:quotation"), {"keywords": ["a"]}], "instructions.1: has no id"),
        ([["punctuation:no_comma"]], "instructions.0: has no id"),
        ([{"id": "keywords:existence"}], "instructions.0.keywords: Field required (keywords:existence)"),
        (
            [{"id": "punctuation:no_comma", "commas": 0}],
            "instructions.0.commas: Extra inputs are not permitted (punctuation:no_comma)",
        ),
        (
            [rule("length_constraints:number_words", num_words="3", relation="at least")],
            "instructions.0.num_words: Input should be a valid integer (length_constraints:number_words)",
        ),
        (
            [rule("length_constraints:number_words", num_words=3, relation="at most")],
            "instructions.0.relation: Input should be 'less than' or 'at least' (length_constraints:number_words)",
        ),
        (
            [rule("language:response_language", language="xx")],
            "instructions.0.language: Value error, 'xx' is no language that can be told (ISO 639 codes) "
            "(language:response_language)",
        ),
        ({"id": "punctuation:no_comma"}, "instructions: has to be a list of at most 100 rules"),
        ([rule("punctuation:no_comma")] * 101, "instructions: has to be a list of at most 100 rules"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_read_are_undecided(instructions: Any, message: str) -> None:
    opinion = ask("x", metadata={"verify": {"instructions": instructions}})
    assert (opinion.outcome, opinion.reason) == ("undecided", "reference_not_usable")
    assert opinion.details == {"message": message}


@pytest.mark.parametrize("metadata", [{}, {"verify": {}}, {"verify": []}, {"verify": {"instructions": []}}])
def test_no_rules_are_undecided(metadata: dict[str, Any]) -> None:
    assert ask("x", metadata=metadata).reason == "no_reference"


@pytest.mark.parametrize("name", ["language:response_language", "change_case:english_lowercase"])
def test_a_language_that_cannot_be_told_is_undecided_unless_another_rule_is_broken(name: str) -> None:
    opinion = ask("3 + 4 = 7", rule(name), rule("punctuation:no_comma"))
    assert (opinion.outcome, opinion.score, opinion.reason) == ("undecided", None, "cannot_tell")
    assert opinion.details["not_told"] == [{"id": name, "message": "no words whose language could be told"}]
    opinion = ask("3 + 4 = 7, 8", rule(name), rule("punctuation:no_comma"))
    assert (opinion.outcome, opinion.score, len(opinion.details["not_told"])) == ("fail", 0.0, 1)


def test_languages_of_one_script_and_weakly_told_ones_are_told_by_the_whole_text() -> None:
    def asked(language: str, text: str) -> Opinion:
        return ask(text, rule("language:response_language", language=language))

    assert asked("hi", HINDI).outcome == asked("mr", MARATHI).outcome == "pass"
    assert asked("mr", HINDI).details["not_followed"][0]["message"] == "100% of the words in another language, asked mr"
    assert asked("sw", SWAHILI).outcome == "pass"
    unsure = asked("sw", SWAHILI_TOO)
    assert (unsure.outcome, unsure.details["not_told"][0]["message"]) == (
        "undecided", "no language is sure: perhaps sw, asked sw"
    )  # fmt: skip
    assert asked("zh-cn", "今天很好，我们去公园。").outcome == "pass"


def test_json_nested_too_deep_to_be_read_is_undecided() -> None:
    assert ask("[" * 100_000, rule("detectable_format:json_format")).reason == "cannot_tell"


def test_only_the_visible_reply_is_read() -> None:
    no_comma = rule("punctuation:no_comma")
    assert ask("<think>one, two</think>\nDone.", no_comma).outcome == "pass"
    assert ask("<think>one, two</think>\nDone.", no_comma, reasoning="one, two", answer="Done.").outcome == "pass"
    assert ask("<think>one, two", no_comma).reason == "no_answer"
    assert ask("<think>one</think> \n", no_comma).reason == "no_answer"


def test_answer_tags_around_the_whole_reply_belong_to_the_template() -> None:
    assert ask('<think>x</think><answer>\n"Yes."\n</answer>', rule("startend:quotation")).outcome == "pass"
    assert ask('So: <answer>"Yes."</answer>', rule("startend:quotation")).outcome == "fail"


def test_a_reply_too_long_to_be_read_is_undecided() -> None:
    words = rule("length_constraints:number_words", num_words=200_000, relation="at least")
    assert ask("a" * 200_001, words).reason == "too_long"
    assert ask("a" * 200_000, words).outcome == "fail"


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("startend:quotation", 'Sure, here it is:\n"Yes."'),
        ("startend:quotation", '"Yes."\nI hope this helps.'),
        ("startend:quotation", 'Sure:\n"Yes."\nI hope this helps.'),
        ("length_constraints:nth_paragraph_first_word", "One.\n\n**Weekend** trips."),
        ("startend:end_checker", "So.\n*Any other questions?*"),
    ],
)
def test_loose_forgives_the_first_line_the_last_and_asterisks(name: str, reply: str) -> None:
    assert ask(reply, rule(name)).outcome == "fail"
    assert ask(reply, rule(name), loose=True).outcome == "pass"


def test_loose_says_of_a_broken_rule_what_the_whole_reply_breaks() -> None:
    opinion = ask("One.\nTwo, three.\nFour, five.", rule("punctuation:no_comma"), loose=True)
    assert opinion.details["not_followed"][0]["message"] == "2 commas, asked less than 1"
    opinion = ask("3 + 4\n = 7", rule("language:response_language"), loose=True)
    assert opinion.outcome == "undecided"


def test_settings_are_in_the_version() -> None:
    assert load_check("instructions").version == load_check("instructions", {"loose": False}).version == "2"
    assert load_check("instructions").version != load_check("instructions", {"loose": True}).version
    with pytest.raises(TypeError, match="loose is 'yes'"):
        InstructionsCheck(loose="yes")  # type: ignore[arg-type]


@given(st.text(st.characters(), max_size=200))
def test_no_reply_breaks_it(reply: str) -> None:
    opinion = ask(reply, *map(rule, RULES), loose=True)
    # Nothing follows all of them.
    assert (opinion.outcome, opinion.reason) in (("fail", "not_followed"), ("undecided", "no_answer"))


@pytest.mark.parametrize(
    "unit",
    ["a", ".", ". ", "...x", "1.\n", "?)", '."', "*", "*a", "**a ", "[", "<<a\n", "- ", "A-", "\n \t", "我。", "$a "],
)
@pytest.mark.timeout(60)
def test_hostile_replies_take_bounded_time(unit: str) -> None:
    assert ask((unit * 200_000)[:199_999] + "x", *map(rule, RULES)).outcome == "fail"


def test_the_layout_takes_the_arguments_that_are_used(tmp_path: Path) -> None:
    names = ["keywords:frequency", "punctuation:no_comma"]
    unused = {"num_words": None, "relation": None}
    rows = [
        {
            "key": 7,
            "prompt": "Say cat twice, without commas.",
            "instruction_id_list": names,
            "kwargs": [{"keyword": "cat", "frequency": 2, "relation": "at least", "num_words": None}, unused],
        },
        {"key": 8, "prompt": "x", "instruction_id_list": names, "kwargs": [{}]},
    ]
    path = tmp_path / "ifeval.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = prompts_of(FileSource(source="file", path=str(path), layout="ifeval"))
    (prompt,) = found.prompts
    assert found.notes == ["ifeval.jsonl:2: left out: 2 ids in `instruction_id_list`, 1 in `kwargs`"]
    assert (prompt.source_ref, prompt.domain, prompt.verifier) == ("7", "general", "instructions")
    metadata = json.loads(prompt.metadata)
    assert metadata["verify"]["instructions"] == [rule(names[0]), rule(names[1])]
    assert ask("A cat; a cat.", metadata=metadata).outcome == "pass"


def test_a_prompt_with_rules_is_checked_by_them_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"prompt": "Go.", "verify": {"instructions": [rule("startend:quotation")]}}) + "\n")
    (prompt,) = prompts_of(FileSource(source="file", path=str(path))).prompts
    assert prompt.verifier == "instructions"


@pytest.mark.skipif(not DATA.is_dir(), reason="the data set IFEval is not here")
def test_all_prompts_of_ifeval_load_and_their_arguments_are_valid() -> None:
    path = DATA / "input_data.jsonl.gz"
    found = prompts_of(FileSource(source="file", path=str(path), layout="ifeval"))
    assert (len(found.prompts), found.notes) == (541, [])
    rules = [r for p in found.prompts for r in rules_of(json.loads(p.metadata)["verify"])]
    assert (len(rules), {name for name, _ in rules}) == (834, set(RULES))
