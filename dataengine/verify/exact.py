"""Checks answers by their words: equal to the reference, or to one of its aliases, after normalising."""

import re
import unicodedata
from typing import Any, ClassVar

from dataengine.checks import Opinion, Sample, Verifier
from dataengine.verify.extract import SCANNED, Extracted, final_answer, plain, visible

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
#: A character of a script that puts no spaces between words.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class ExactCheck(Verifier):
    """Passes when the final answer, normalised, equals the reference or an alias (metadata `verify.aliases`).

    An answer without answer tags is also compared as a whole. With `contains`, an answer that holds the reference as
    whole words passes too.
    """

    name: ClassVar[str] = "exact"
    RULES: ClassVar[str] = "2"

    def __init__(self, *, contains: bool = False) -> None:
        if not isinstance(contains, bool):
            raise TypeError(f"contains is {contains!r}; it must be true or false")
        self.contains = contains
        super().__init__(**({"contains": True} if contains else {}))

    def opinion(self, sample: Sample) -> Opinion:
        """The opinion on one sample."""
        if not (sample.reference or "").strip():
            return Opinion("undecided", reason="no_reference")
        found = final_answer(sample.answer, sample.text)
        if found is None:
            return Opinion("undecided", reason="no_answer")
        forms = [found]
        if found.origin == "phrase":
            forms.append(_to_the_end_of_line(found, sample))
        if found.origin not in ("answer_tag", "whole") and sample.answer is not None:
            forms.append(Extracted(sample.answer[-SCANNED:].strip(), "whole"))
        for form in forms:
            for wanted in (sample.reference or "", *_aliases(sample)):
                if self._same(form.value, wanted):
                    details = {"extracted": form.value[:500], "from": form.origin, "matched": wanted[:500]}
                    return Opinion("pass", 1.0, details=details)
        return Opinion("fail", 0.0, "different", {"extracted": found.value[:500], "from": found.origin})

    def _same(self, value: str, wanted: str) -> bool:
        left, right = normalised(value), normalised(wanted)
        if not right:
            # Nothing but punctuation ("} ]"): then the signs themselves are the answer.
            return "".join(value.split()) == "".join(wanted.split()) != ""
        if left == right:
            return True
        if not self.contains:
            return False
        return right in left if UNSPACED.search(right) else f" {right} " in f" {left} "


def normalised(text: str) -> str:
    """`text` as SQuAD's evaluation compares it: NFKC, lower case, no punctuation, no articles, single spaces.

    Unlike there, what makes a number another one stays: its sign and its decimal point.

    >>> normalised("The  Eiffel-Tower!"), normalised("-1,000.5")
    ('eiffel tower', '-1000.5')
    """
    text = unicodedata.normalize("NFKC", text.replace("\u2212", "-")).casefold()
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    kept: list[str] = []
    for i, char in enumerate(text):
        in_number = text[i + 1 : i + 2].isdigit() and _numeric(char, text[i - 1] if i else " ")
        if in_number or not (unicodedata.category(char).startswith("P") or char in "`^$"):
            kept.append(char)
        elif char not in "'’":
            kept.append(" ")
    return " ".join(_ARTICLES.sub(" ", "".join(kept)).split())


def _to_the_end_of_line(found: Extracted, sample: Sample) -> Extracted:
    """A stated answer with what follows it on its line: the stop in "Panic! at the Disco" ends no sentence."""
    shown = plain(visible(sample.answer, sample.text)[-SCANNED:])
    return Extracted(shown[shown.rfind(found.value) :].partition("\n")[0].strip(), "phrase")


def _numeric(char: str, before: str) -> bool:
    return (char == "." and (before.isdigit() or before in " -$")) or (char == "-" and before in " (=$")


def _aliases(sample: Sample) -> list[str]:
    verify: Any = sample.metadata.get("verify")
    aliases = verify.get("aliases") if isinstance(verify, dict) else None
    return [a for a in aliases if isinstance(a, str) and a.strip()] if isinstance(aliases, list) else []
