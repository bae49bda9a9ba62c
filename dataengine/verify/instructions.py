"""Checks that a reply follows the rules its prompt asks for: so many words, no commas, in lower case and the like."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.filters.identify import model_path
from dataengine.verify import instruction_form as form
from dataengine.verify import instruction_words as words
from dataengine.verify.extract import visible
from dataengine.verify.instruction_rule import CannotTell, Rule, quoted
from schemas.errors import first_problem

#: Characters of a reply, above which it is not read: counts of a part would be wrong.
MOST_CHARACTERS = 200_000
#: Rules of one prompt.
MOST_RULES = 100

#: The rules by the names IFEval (Zhou et al. 2023) gives them.
RULES: dict[str, type[Rule]] = {
    "punctuation:no_comma": form.NoComma,
    "length_constraints:number_words": words.NumberWords,
    "length_constraints:number_sentences": words.NumberSentences,
    "length_constraints:number_paragraphs": words.NumberParagraphs,
    "length_constraints:nth_paragraph_first_word": words.NthParagraphFirstWord,
    "keywords:existence": words.KeywordExistence,
    "keywords:frequency": words.KeywordFrequency,
    "keywords:forbidden_words": words.ForbiddenWords,
    "keywords:letter_frequency": words.LetterFrequency,
    "detectable_format:number_highlighted_sections": form.NumberHighlights,
    "detectable_format:title": form.Title,
    "detectable_format:number_bullet_lists": form.NumberBullets,
    "detectable_format:json_format": form.JsonFormat,
    "detectable_format:multiple_sections": form.MultipleSections,
    "detectable_format:constrained_response": form.ConstrainedResponse,
    "detectable_content:number_placeholders": form.NumberPlaceholders,
    "detectable_content:postscript": form.Postscript,
    "combination:repeat_prompt": form.RepeatPrompt,
    "combination:two_responses": form.TwoResponses,
    "startend:quotation": form.Quotation,
    "startend:end_checker": form.EndChecker,
    "change_case:english_lowercase": words.EnglishLowercase,
    "change_case:english_capital": words.EnglishCapital,
    "change_case:capital_word_frequency": words.CapitalWordFrequency,
    "language:response_language": words.ResponseLanguage,
}


class InstructionsCheck(Verifier):
    """Passes when the visible reply follows every rule of the prompt (metadata `verify.instructions`).

    `score` is the share of rules followed. Where one cannot be told and no other is broken, the outcome is undecided.
    With `loose` a rule is followed too where it is without the reply's first line, its last, both, or its asterisks:
    IFEval's loose accuracy.
    """

    name: ClassVar[str] = "instructions"
    RULES: ClassVar[str] = "2"

    def __init__(self, *, loose: bool = False) -> None:
        if not isinstance(loose, bool):
            raise TypeError(f"loose is {loose!r}; it must be true or false")
        self.loose = loose
        super().__init__(**({"loose": True} if loose else {}))
        model_path()  # a missing model is told before the run, not in the middle of it

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        try:
            rules = rules_of(sample.metadata.get("verify"))
        except ValueError as e:
            return Opinion("undecided", reason="reference_not_usable", details={"message": str(e)})
        if not rules:
            return Opinion("undecided", reason="no_reference")
        reply = _reply(sample)
        if not reply.strip():
            return Opinion("undecided", reason="no_answer")
        if len(reply) > MOST_CHARACTERS:
            return Opinion("undecided", reason="too_long", details={"characters": len(reply)})
        forms = loosened(reply) if self.loose else [reply]
        judged = [(name, *_judged(rule, forms)) for name, rule in rules]
        followed, broken, untold = (
            [{"id": name, "message": message} for name, state, message in judged if state == wanted]
            for wanted in ("followed", "not_followed", "not_told")
        )
        details = {"rules": len(rules), "followed": len(followed), "not_followed": broken}
        details |= {"not_told": untold} if untold else {}
        if broken:
            return Opinion("fail", len(followed) / len(rules), "not_followed", details)
        if untold:
            return Opinion("undecided", None, "cannot_tell", details)
        return Opinion("pass", 1.0, details=details)


def rules_of(verify: Any) -> list[tuple[str, Rule]]:
    """The rules of a prompt with their names, from the `verify` part of its metadata; none where it has none.

    Raises ValueError for an unknown rule, and for an argument that is missing, unknown or of the wrong kind.

    >>> rules_of({"instructions": [{"id": "length_constraints:number_words", "num_words": 9, "relation": "at least"}]})
    [('length_constraints:number_words', NumberWords(num_words=9, relation='at least'))]
    """
    items = (verify.get("instructions") if isinstance(verify, Mapping) else None) or []
    if not isinstance(items, list) or len(items) > MOST_RULES:
        raise ValueError(f"instructions: has to be a list of at most {MOST_RULES} rules")
    rules = []
    for i, item in enumerate(items):
        if not isinstance(item, Mapping) or "id" not in item:
            raise ValueError(f"instructions.{i}: has no id")
        name = str(item["id"])
        if name not in RULES:
            raise ValueError(f"instructions.{i}: there is no rule {quoted(name)}; docs/verification.md lists them")
        try:
            rules.append((name, RULES[name].model_validate({k: v for k, v in item.items() if k != "id"})))
        except ValidationError as e:
            raise ValueError(f"{first_problem(e, 'instructions', i)} ({name})") from None
    return rules


def loosened(text: str) -> list[str]:
    """`text`, and without its first line, its last, both; each with and without asterisks.

    >>> loosened("Sure:\\n*No.*")
    ['Sure:\\n*No.*', '*No.*', 'Sure:', 'Sure:\\nNo.', 'No.']
    """
    lines = text.split("\n")
    forms = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    forms += [f.replace("*", "") for f in forms]
    return [f for f in dict.fromkeys(forms) if f.strip()]


def _reply(sample: Sample) -> str:
    """The visible reply, without the answer tags that some templates put around all of it."""
    text = visible(sample.answer, sample.text)
    inside = text.strip()
    if inside.startswith("<answer>") and inside.endswith("</answer>") and inside.count("<answer>") == 1:
        return inside.removeprefix("<answer>").removesuffix("</answer>")
    return text


def _judged(rule: Rule, forms: list[str]) -> tuple[Literal["followed", "not_followed", "not_told"], str]:
    """Whether a rule is followed in any of the forms; where in none, what is said of the first."""
    first: tuple[Literal["not_followed", "not_told"], str] | None = None
    for text in forms:
        try:
            message = rule(text)
        except CannotTell as e:
            first = first or ("not_told", str(e))
            continue
        if message is None:
            return "followed", ""
        first = first or ("not_followed", message)
    assert first is not None, "a reply has a form"
    return first
