"""A judge's prompt: a text with places for what it shows, and the words it may answer with."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataengine.delimiting import delimited, tag_of
from schemas.errors import ConfigError
from schemas.recipe import Guided
from schemas.yaml_file import load_front_matter

_FOLDER = Path(__file__).parent / "prompts"
_SAID = ("analysis", "verdict")
_PLACE = re.compile(r"\{\{([^{}\n]*)\}\}")
# Part of a judge's version: change it with any change of how a prompt is put together.
_RULES = "1"
# What a text shows of one response, or of the two of a pair.
_OF_ONE = ("question", "reference", "response", "response.tag")
_OF_PAIR = ("question", "response_a", "response_a.tag", "response_b", "response_b.tag")


class Meaning(BaseModel):
    """What a word says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    outcome: Literal["pass", "fail", "undecided"]
    score: float | None = Field(default=None, ge=0, le=1)


Word = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ ]{0,39}$")]


class Front(BaseModel):
    """The settings at the start of a prompt file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    asks: str = Field(min_length=1, description="what the judge is asked, in one line")
    response: Literal["whole", "answer"] = Field(
        description="what is shown of a response: whole, thinking included, or the answer that follows the thinking"
    )
    verdicts: dict[Word, Meaning] = Field(
        default_factory=dict, description="of one response: word: {outcome: pass, score: 1.0}"
    )
    prefers: dict[Word, float] = Field(
        default_factory=dict, description="of a pair: word: score, above 0 where the first response is the better one"
    )
    own_answer: bool = Field(default=False, description="the judge answers the question itself before it judges")
    system: str = Field(default="", description="the system message")

    @model_validator(mode="after")
    def _words(self) -> Self:
        if bool(self.verdicts) == bool(self.prefers) or len(self.verdicts) + len(self.prefers) < 2:
            raise ValueError(
                "give either `verdicts` on one response, or what `prefers` of two says: two words at least"
            )
        return self


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt file, read. `text` holds each place that shows something once at most."""

    name: str
    front: Front
    text: str

    @cached_property
    def shows(self) -> frozenset[str]:
        """The places in the text."""
        return frozenset(_PLACE.findall(self.text))

    @property
    def shows_reference(self) -> bool:
        """Whether a corrected reference asks for a new verdict."""
        return "reference" in self.shows

    @property
    def words(self) -> dict[str, Meaning]:
        """The words it may answer with."""
        return self.front.verdicts

    @property
    def of_pairs(self) -> bool:
        """Whether it compares two responses."""
        return bool(self.front.prefers)

    @property
    def fields(self) -> tuple[str, ...]:
        """The keys of a reply, in the order in which they are written."""
        return ("own_answer", *_SAID) if self.front.own_answer else _SAID

    @property
    def content(self) -> list[object]:
        """What a judge's version holds of it: all that changes what is sent or what a reply means."""
        meanings = {word: [m.outcome, m.score] for word, m in self.words.items()} or self.front.prefers
        return [_RULES, self.front.system.strip(), self.text, self.front.response, meanings, self.fields]

    @cached_property
    def guided(self) -> Guided:
        """The form of a reply: the analysis before the verdict."""
        fields: dict[str, dict[str, object]] = {field: {"type": "string"} for field in self.fields}
        fields["verdict"]["enum"] = list(self.words or self.front.prefers)
        return Guided(
            json_schema={
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            }
        )

    def render(self, **shown_as: str) -> list[dict[str, str]]:
        """The conversation that is sent, with what is shown by the name of its place.

        What is the same for many responses comes first, if the text has it so.
        """
        shown = {name: delimited(name, text) for name, text in shown_as.items()}
        shown |= {f"{name}.tag": tag_of(name, text) for name, text in shown_as.items()}
        # In one pass: what a response says is no place to be filled.
        text = _PLACE.sub(lambda found: shown[found[1]], self.text)
        system = [{"role": "system", "content": self.front.system.strip()}] if self.front.system.strip() else []
        return [*system, {"role": "user", "content": text}]


def shipped_prompts() -> dict[str, Path]:
    """The shipped prompt files by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.md"))}


def load_prompt(ask: str) -> JudgePrompt:
    """The shipped prompt of that name, or the prompt file at that path. Raises ConfigError."""
    known = shipped_prompts()
    path = known.get(ask) or Path(ask).expanduser()
    if not path.exists() and path.suffix != ".md":
        raise ConfigError(f"{ask}: no prompt file, and no shipped name; shipped: {', '.join(known)}")
    front, text = load_front_matter(path, Front)
    places = _PLACE.findall(text)
    known_places = _OF_PAIR if front.prefers else _OF_ONE
    for place in places:
        if place not in known_places:
            raise ConfigError(f"{path}: {{{{{place}}}}} is no place to be filled; there are: {', '.join(known_places)}")
    for place in (p for p in known_places if not p.endswith(".tag")):
        if place not in places and place != "reference":
            raise ConfigError(f"{path}: the text shows no {{{{{place}}}}}")
        if places.count(place) > 1:
            raise ConfigError(f"{path}: {{{{{place}}}}} stands in the text more than once")
    return JudgePrompt(path.stem, front, text)
