"""What a rule on instructions is, and what the rules have in common: counts, words in arguments, languages."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dataengine.filters.identify import main_language, same_language
from dataengine.filters.language import segments

#: Share of words that may be told to be in another language than the one asked for.
MOST_OTHER = 0.2
#: How sure the language of a text has to be told: that it is the one asked for, and that it is another.
LEAST_SURE = 0.2
SURE = 0.5

Relation = Literal["less than", "at least"]
Count = Annotated[int, Field(ge=1)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Words = Annotated[list[Word], Field(min_length=1, max_length=100)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class CannotTell(Exception):
    """Whether the rule is followed cannot be told of this text."""


class Rule(BaseModel):
    """A rule with its arguments, which are named as in IFEval; called with a text it says what breaks the rule there.

    The answer is a few words with what was found, or None where the rule is followed. Raises CannotTell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def __call__(self, text: str) -> str | None:
        raise NotImplementedError


def compared(found: int, relation: Relation, asked: int, what: str) -> str | None:
    """What breaks a rule on a number; `what` is counted, in the singular."""
    kept = found < asked if relation == "less than" else found >= asked
    return None if kept else f"{counted(found, what)}, asked {relation} {asked}"


def exactly(found: int, asked: int, what: str) -> str | None:
    """What breaks a rule on a number that has to be met."""
    return None if found == asked else f"{counted(found, what)}, asked {asked}"


def counted(number: int, what: str) -> str:
    """A number of things; what is quoted has no plural.

    >>> counted(1, "word"), counted(3, "word"), counted(3, "'cat'")
    ('1 word', '3 words', "3 'cat'")
    """
    return f"{number} {what}{'' if number == 1 or what.endswith(chr(39)) else 's'}"


def quoted(text: str, most: int = 60) -> str:
    """The start of `text` in quotation marks, on one line."""
    return repr(text if len(text) <= most else text[:most] + "…")


def not_in(language: str, text: str) -> str | None:
    """What breaks the rule that all of `text` is in `language`. Raises CannotTell where there are too few words.

    IFEval asks langdetect for the likeliest language of the whole. Here more than a fifth of the words in another one
    break the rule as well; words that cannot be told count for it.
    """
    if text.isupper():
        text = text.lower()  # fastText does not know languages by their capitals
    total = other = 0
    for segment in segments(text, language):
        total += segment.words
        if segment.language is not None and not same_language(segment.language, language):
            other += segment.words
    told = main_language(text)
    if not total or told is None:
        raise CannotTell("no words whose language could be told")
    if other / total > MOST_OTHER:
        return f"{other / total:.0%} of the words in another language, asked {language}"
    # What short sentences leave open, as between languages that share a script, the text as a whole tells.
    found, sure = told
    same = same_language(found, language)
    if sure < (LEAST_SURE if same else SURE):
        raise CannotTell(f"no language is sure: perhaps {found}, asked {language}")
    return None if same else f"in {found}, asked {language}"
