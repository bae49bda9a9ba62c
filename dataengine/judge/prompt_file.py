"""A judge's prompt: a text with places for what it shows, and the words it may answer with."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dataengine.delimiting import delimited, tag_of
from schemas.errors import ConfigError
from schemas.recipe import Guided
from schemas.yaml_file import load_front_matter

_FOLDER = Path(__file__).parent / "prompts"
_PLACE = re.compile(r"\{\{([^{}\n]*)\}\}")
# Part of a judge's version: change it with any change of how a prompt is put together.
_RULES = "1"
_PLACES = ("question", "reference", "response", "response.tag")


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
    verdicts: dict[Word, Meaning] = Field(min_length=2, description="word: {outcome: pass, score: 1.0}")
    system: str = Field(default="", description="the system message")


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt file, read. `text` holds each of `{{question}}`, `{{reference}}` and `{{response}}` once at most."""

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
    def content(self) -> list[object]:
        """What a judge's version holds of it: all that changes what is sent or what a reply means."""
        meanings = {word: [m.outcome, m.score] for word, m in self.words.items()}
        return [_RULES, self.front.system.strip(), self.text, self.front.response, meanings]

    @cached_property
    def guided(self) -> Guided:
        """The form of a reply: the analysis first, then the verdict."""
        fields = {"analysis": {"type": "string"}, "verdict": {"type": "string", "enum": list(self.words)}}
        return Guided(
            json_schema={
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            }
        )

    def render(self, *, question: str, reference: str, response: str) -> list[dict[str, str]]:
        """The conversation that is sent. What is the same for many responses comes first, if the text has it so."""
        shown = {
            "question": delimited("question", question),
            "reference": delimited("reference", reference),
            "response": delimited("response", response),
            "response.tag": tag_of("response", response),
        }
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
    for place in places:
        if place not in _PLACES:
            raise ConfigError(f"{path}: {{{{{place}}}}} is no place to be filled; there are: {', '.join(_PLACES)}")
    for place in ("question", "response"):
        if place not in places:
            raise ConfigError(f"{path}: the text shows no {{{{{place}}}}}")
    for place in ("question", "reference", "response"):
        if places.count(place) > 1:
            raise ConfigError(f"{path}: {{{{{place}}}}} stands in the text more than once")
    return JudgePrompt(path.stem, front, text)
