"""What a verifier of final answers needs beside the reference: the `verify` part of a prompt's metadata."""

from pydantic import BaseModel, ConfigDict, Field


class AnswerForm(BaseModel):
    """How an answer may differ from the reference and be right all the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    aliases: list[str] = Field(default_factory=list, description="other answers that are right")
    tolerance: float | None = Field(default=None, ge=0, lt=1, description="of a number, relative to the reference")
    unit: str = Field(default="", description="of the reference, in LaTeX or plain text; a power of ten may lead it")
