"""What a program is tested with: the `verify` part of a code prompt's metadata."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Language = Literal["python", "cpp", "javascript"]


class Calls(BaseModel):
    """Calls of one function, each with its arguments and the result as JSON holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="a function, or Class.method of a class that is made without arguments")
    cases: list[tuple[list[Any], Any]] = Field(min_length=1)


class CodeTests(BaseModel):
    """Tests of a program. A program passes when it passes all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    language: Language = "python"
    preamble: str = Field(default="", description="code that stands before the program: imports, helpers")
    prefix: str = Field(default="", description="the program's start, which the prompt shows and a reply may leave out")
    entry_point: str = Field(default="", description="the function or class that a reply has to define")
    tests: list[str] = Field(default_factory=list, description="code that is run after the program and raises nothing")
    cases: list[tuple[str, str]] = Field(default_factory=list, description="standard input and what is to be printed")
    calls: Calls | None = None
    expression: str = Field(
        default="",
        description="instead of a program the reply is a value: Python that is true with it in the place of ANSWER",
    )
    literal: bool = Field(default=False, description="the value has to be written out, not computed")
    time_limit: float | None = Field(default=None, gt=0, description="seconds of processor time for one run")

    @property
    def count(self) -> int:
        """How many tests there are."""
        calls = len(self.calls.cases) if self.calls else 0
        return len(self.tests) + len(self.cases) + calls + bool(self.expression)
