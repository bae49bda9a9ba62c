"""Rewards of a test's own, as users write them."""

from typing import Any


def ones(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    """For replies with a 1 and without a 2."""
    return [float("1" in text and "2" not in text) for text in completions]


def some(prompts: Any, completions: list[str], **columns: Any) -> list[float | None]:
    """As `ones`; nobody can tell of replies with a 3."""
    return [None if "3" in text else value for text, value in zip(completions, ones(prompts, completions), strict=True)]


def never(prompts: Any, completions: list[str], **columns: Any) -> list[None]:
    """Nobody can ever tell."""
    return [None] * len(completions)


def same(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    """All replies are as good."""
    return [0.5] * len(completions)


def broken(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    """Raises."""
    raise KeyError("no such thing")
