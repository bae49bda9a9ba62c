"""Rules on the form of a reply: punctuation, markdown, JSON, how it begins and ends."""

import json
import re

from dataengine.verify import prose
from dataengine.verify.instruction_rule import CannotTell, Count, Rule, Text, Word, compared, exactly, quoted

_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


class NoComma(Rule):
    """No comma, in any script (IFEval: the ASCII one); one between digits is a comma too."""

    def __call__(self, text: str) -> str | None:
        return compared(sum(map(text.count, ",，、،")), "less than", 1, "comma")


class NumberHighlights(Rule):
    """At least so many stretches *emphasised* as markdown has it.

    IFEval pairs asterisks as they come: of "* one **two**" it makes three. Here a bullet is none.
    """

    num_highlights: Count

    def __call__(self, text: str) -> str | None:
        return compared(len(prose.highlights(text)), "at least", self.num_highlights, "highlight")


class Title(Rule):
    """A title in double angle brackets."""

    def __call__(self, text: str) -> str | None:
        return None if prose.titles(text) else "no <<title>>"


class NumberBullets(Rule):
    """Exactly so many lines with a bullet. IFEval counts any line with a dash: dividers and negative numbers too."""

    num_bullets: Count

    def __call__(self, text: str) -> str | None:
        return exactly(len(prose.bullets(text)), self.num_bullets, "bullet")


class JsonFormat(Rule):
    """All of the reply is one JSON value, in a fence or not; NaN and Infinity are no JSON."""

    def __call__(self, text: str) -> str | None:
        body = text.strip()
        if body.startswith("```"):
            body = body[3:].removesuffix("```")
            body = body[4:] if body[:4].lower() == "json" else body
        try:
            # Numbers stay text: their form is all that is asked, and a long one is costly.
            json.loads(body, parse_int=str, parse_float=str, parse_constant=_no_value)
        except RecursionError:
            raise CannotTell("it is nested too deep to be read") from None
        except ValueError as e:
            return f"not JSON: {e}"
        return None


def _no_value(name: str) -> None:
    raise ValueError(f"{name} is no value")


class MultipleSections(Rule):
    """At least so many marks such as "SECTION 1", wherever they stand, in the letter case asked for."""

    section_spliter: Word
    num_sections: Count

    def __call__(self, text: str) -> str | None:
        found = len(re.findall(re.escape(self.section_spliter) + r"\s?\d", text))
        return compared(found, "at least", self.num_sections, f"'{self.section_spliter} N'")


class ConstrainedResponse(Rule):
    """One of IFEval's three answers stands in the reply, which may say more."""

    def __call__(self, text: str) -> str | None:
        return None if any(a in text for a in _ANSWERS) else f"none of: {' '.join(_ANSWERS)}"


class NumberPlaceholders(Rule):
    """At least so many texts in square brackets. IFEval counts empty ones too."""

    num_placeholders: Count

    def __call__(self, text: str) -> str | None:
        return compared(len(prose.placeholders(text)), "at least", self.num_placeholders, "placeholder")


class Postscript(Rule):
    """The mark of a postscript stands somewhere, letter case and a space after its full stops aside."""

    postscript_marker: Word

    def __call__(self, text: str) -> str | None:
        mark = r"\.\s?".join(map(re.escape, self.postscript_marker.split(".")))
        return None if re.search(rf"(?<!\w){mark}", text, re.IGNORECASE) else f"no {self.postscript_marker}"


class RepeatPrompt(Rule):
    """The reply begins with the request, word for word, letter case aside; what follows is not looked at."""

    prompt_to_repeat: Text

    def __call__(self, text: str) -> str | None:
        repeated = text.strip().casefold().startswith(self.prompt_to_repeat.casefold())
        return None if repeated else f"begins {quoted(text.strip())}"


class TwoResponses(Rule):
    """Two different texts with `******` between them."""

    def __call__(self, text: str) -> str | None:
        parts = [p.strip() for p in text.split("******")]
        if not all(parts[1:-1]):
            return "an empty response between two dividers"
        found = [p for p in parts if p]
        if len(found) == 2 and found[0] == found[1]:
            return "the same response twice"
        return exactly(len(found), 2, "response")


class Quotation(Rule):
    """Double quotation marks around all of the reply: straight ones, or curly, which IFEval does not take."""

    def __call__(self, text: str) -> str | None:
        shown = text.strip()
        if len(shown) > 1 and shown[0] + shown[-1] in ('""', "“”"):
            return None
        return f"begins {quoted(shown, 10)}, ends {quoted(shown[-10:])}"


class EndChecker(Rule):
    """The phrase is the end, letter case and quotation marks after it aside."""

    end_phrase: Text

    def __call__(self, text: str) -> str | None:
        shown, phrase = text.strip(), self.end_phrase.casefold()
        ends = (shown, shown.rstrip('"” \n'))
        return None if any(e.casefold().endswith(phrase) for e in ends) else f"ends {quoted(shown[-60:])}"
