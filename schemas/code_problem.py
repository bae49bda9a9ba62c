"""What tests are made from: a problem with programs that write inputs, and submissions known to be right or wrong."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.code_tests import CodeTests, Language


class Submission(BaseModel):
    """A program that reads standard input and prints; a plain text is one in the language that is usual there."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    program: str = Field(min_length=1, max_length=200_000)
    language: Language | None = Field(default=None, description="default: `verify.language`; of a generator: python")


class CodeProblem(BaseModel):
    """A problem whose tests are to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    generators: list[Submission] = Field(
        min_length=1, description="each run prints one input; gets its number, from 1, and how many runs there are"
    )
    correct: list[Submission] = Field(min_length=1)
    incorrect: list[Submission] = Field(default_factory=list)
    verify: CodeTests = Field(default_factory=CodeTests, description="language, time limit, cases that exist already")

    @field_validator("generators", "correct", "incorrect", mode="before")
    @classmethod
    def _programs(cls, value: Any) -> Any:
        if isinstance(value, str | dict):
            value = [value]
        if not isinstance(value, list):
            return value or []
        return [{"program": v} if isinstance(v, str) else v for v in value]

    @field_validator("verify", mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        # Parquet gives every row every field.
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value or {}

    @field_validator("verify")
    @classmethod
    def _asks_for_a_program(cls, verify: CodeTests) -> CodeTests:
        if verify.expression:
            raise ValueError("`expression` asks for a value, and tests are made for programs")
        return verify
