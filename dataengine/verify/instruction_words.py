"""Rules on the words of a reply: how many, which, in what case and language."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from dataengine.filters.identify import known_language
from dataengine.verify import prose
from dataengine.verify.instruction_rule import Count, Relation, Rule, Word, Words, compared, exactly, not_in, quoted


class NumberWords(Rule):
    """The number of words."""

    num_words: Count
    relation: Relation

    def __call__(self, text: str) -> str | None:
        return compared(len(prose.words(text)), self.relation, self.num_words, "word")


class NumberSentences(Rule):
    """The number of sentences."""

    num_sentences: Count
    relation: Relation

    def __call__(self, text: str) -> str | None:
        return compared(len(prose.sentences(text)), self.relation, self.num_sentences, "sentence")


class NumberParagraphs(Rule):
    """Paragraphs between dividers `***`, wherever these stand, in a line too; none between two dividers is empty."""

    num_paragraphs: Count

    def __call__(self, text: str) -> str | None:
        parts = [p.strip() for p in text.split("***")]
        if not all(parts[1:-1]):
            return "an empty paragraph between two dividers"
        return exactly(sum(map(bool, parts)), self.num_paragraphs, "paragraph")


class NthParagraphFirstWord(Rule):
    """Paragraphs between blank lines, and the first word of one.

    IFEval leaves empty paragraphs out of the count but numbers them; here they are no paragraphs at all.
    """

    num_paragraphs: Count
    nth_paragraph: Count
    first_word: Word

    def __call__(self, text: str) -> str | None:
        found = prose.paragraphs(text)
        if len(found) != self.num_paragraphs:
            return exactly(len(found), self.num_paragraphs, "paragraph")
        if self.nth_paragraph > len(found):
            return f"there is no paragraph {self.nth_paragraph}"
        paragraph = found[self.nth_paragraph - 1]
        if prose.begins_with(paragraph, self.first_word):
            return None
        return f"paragraph {self.nth_paragraph} begins {quoted(paragraph, 30)}, asked {self.first_word!r}"


class KeywordExistence(Rule):
    """Each keyword stands somewhere, in a word too ("cat" in "category"), letter case aside.

    IFEval takes a keyword for a regular expression; here it is what is looked for, as in the rules below.
    """

    keywords: Words

    def __call__(self, text: str) -> str | None:
        folded = text.casefold()
        missing = [k for k in self.keywords if k.casefold() not in folded]
        return f"missing: {', '.join(missing)}" if missing else None


class KeywordFrequency(Rule):
    """How often a keyword stands there, in a word too."""

    keyword: Word
    frequency: Count
    relation: Relation

    def __call__(self, text: str) -> str | None:
        found = text.casefold().count(self.keyword.casefold())
        return compared(found, self.relation, self.frequency, f"'{self.keyword}'")


class ForbiddenWords(Rule):
    """None of the words stands there as a whole word, letter case aside."""

    forbidden_words: Words

    def __call__(self, text: str) -> str | None:
        found = [w for w in self.forbidden_words if prose.has_word(text, w)]
        return f"found: {', '.join(found)}" if found else None


class LetterFrequency(Rule):
    """How often a letter or sign stands there, letter case aside."""

    letter: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1)]
    let_frequency: Count
    let_relation: Relation

    def __call__(self, text: str) -> str | None:
        found = text.lower().count(self.letter.lower())
        return compared(found, self.let_relation, self.let_frequency, f"'{self.letter}'")


class EnglishLowercase(Rule):
    """No capital letter, and English."""

    def __call__(self, text: str) -> str | None:
        capital = next((c for c in text if c.isupper()), None)
        return f"the capital letter {capital}" if capital else not_in("en", text)


class EnglishCapital(Rule):
    """No small letter, and English."""

    def __call__(self, text: str) -> str | None:
        small = next((c for c in text if c.islower()), None)
        return f"the small letter {small}" if small else not_in("en", text)


class CapitalWordFrequency(Rule):
    """How many words are all in capitals, "I" and "A" among them."""

    capital_frequency: Count
    capital_relation: Relation

    def __call__(self, text: str) -> str | None:
        found = len(prose.capital_words(text))
        return compared(found, self.capital_relation, self.capital_frequency, "capital word")


def _known(language: str) -> str:
    if not known_language(language):
        raise ValueError(f"{quoted(language, 20)} is no language that can be told (ISO 639 codes)")
    return language


class ResponseLanguage(Rule):
    """All of the reply is in one language."""

    language: Annotated[str, AfterValidator(_known)]

    def __call__(self, text: str) -> str | None:
        return not_in(self.language, text)
