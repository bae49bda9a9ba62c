"""How a prompt is put to a model, and how its reply is taken apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import ConfigError
from schemas.recipe import Demonstration
from schemas.records import Message

# Structure only, no hint about content or strategy, as in the R1-Zero template; the wording is ours.
_THINK = (
    "You solve the user's problem in two parts. First think step by step between <think> and </think>. "
    "Then sum up for the user in one line and put the final answer, alone, between <answer> and </answer>."
)

# For a base model, which knows no roles: the whole conversation stands in one turn, as in the R1-Zero template.
_ZERO = (
    "What follows is a talk between a user and an assistant. For each question the assistant first works out the "
    "reasoning in its head and then gives the user the answer. The reasoning stands between <think> and </think>, the "
    "answer between <answer> and </answer>."
)

# The R1 report's second source of cold-start data asks a model outright for reflection and verification.
_REFLECT = (
    "You solve the user's problem thoroughly. First write down all of your reasoning between <think> and </think>: say "
    "what is asked, work it out in detail, and where a step could be wrong, stop, doubt it and look at it again; try "
    "another way where one leads nowhere. When you have a result, verify it, by putting it back into the problem or by "
    "reaching it once more in another way, and go back if it does not hold. Then explain the solution to the user in a "
    "few sentences and put the final answer, alone, between <answer> and </answer>."
)

# Everyday requests have no final answer to be marked: the report asks its chat model for a possible chain of thought.
_FIRST = (
    "Before you answer the user, think: what is asked for, what a good answer needs, what could be wrong in it. Write "
    "this down between <think> and </think>. Then write the answer itself, as the user is to read it."
)
_OPENED = re.compile(r"\s*(<think>|\|special_token\|)")

TEMPLATES: dict[str, str | None] = {
    "plain": None,
    "think": _THINK,
    "reflect": _REFLECT,
    "think_first": _FIRST,
    "r1_zero": None,
}


def system_prompt(template: str) -> str | None:
    """The system prompt of a template, None for none. Raises ConfigError for an unknown one."""
    if template not in TEMPLATES:
        raise ConfigError(f"there is no template {template!r}; there are: {', '.join(TEMPLATES)}")
    return TEMPLATES[template]


def render(
    messages: Sequence[Message], template: str, demonstrations: Sequence[Demonstration] = (), prefill: str = ""
) -> list[dict[str, str]]:
    """The conversation that is sent: system prompt, worked examples, the prompt, the start of the reply.

    What is the same for many prompts comes first, so that engines can share its computation. A prompt's own system
    message joins the template's: chat templates of models know one.
    """
    system = system_prompt(template)
    if system and messages[0].role == "system":
        system, messages = f"{system}\n\n{messages[0].content}", messages[1:]
    rendered = [{"role": "system", "content": system}] if system else []
    for shown in demonstrations:
        rendered.append({"role": "user", "content": shown.question})
        rendered.append({"role": "assistant", "content": assemble(shown.reasoning or None, shown.answer)})
    rendered += [{"role": m.role, "content": m.content} for m in messages]
    if template == "r1_zero":
        turns = [f"{m['role'].capitalize()}: {m['content']}" for m in rendered]
        rendered = [{"role": "user", "content": "\n\n".join([_ZERO, *turns, "Assistant:"])}]
    if prefill:
        rendered.append({"role": "assistant", "content": prefill})
    return rendered


def assemble(reasoning: str | None, answer: str | None) -> str:
    """A reply from its parts.

    >>> assemble("2 and 2", "4")
    '<think>\\n2 and 2\\n</think>\\n4'
    """
    if reasoning is None:
        return (answer or "").strip()
    return f"<think>\n{reasoning.strip()}\n</think>\n{(answer or '').strip()}"


@dataclass(frozen=True)
class Parts:
    """A reply taken apart; None where a part is missing."""

    reasoning: str | None
    answer: str | None


def take_apart(text: str) -> Parts:
    """Reasoning and answer of a reply.

    Reasoning stands in think tags at the start, or between two `|special_token|` (the R1 report's cold-start pattern).
    Without them all of the reply is the answer; when they are not closed all of it is reasoning and there is no answer.
    Nothing is guessed: the check `format` says what is wrong.

    >>> take_apart("<think>\\n2 + 2\\n</think>\\n<answer>4</answer>")
    Parts(reasoning='2 + 2', answer='<answer>4</answer>')
    >>> take_apart("|special_token|2 + 2|special_token|It is 4.")
    Parts(reasoning='2 + 2', answer='It is 4.')
    >>> take_apart("4")
    Parts(reasoning=None, answer='4')
    """
    found = boundaries(text)
    if found is None:
        return Parts(None, text.strip() or None)
    start, end, after = found
    return Parts(text[start:end].strip(), text[after:].strip() or None)


def boundaries(text: str) -> tuple[int, int, int] | None:
    """Where the reasoning of a reply starts and ends and where its answer starts, as `take_apart` tells them.

    None without reasoning. Where it is never closed it ends with the text, and so does the empty answer.
    """
    opened = _OPENED.match(text)
    if not opened:
        return None
    start = opened.end()
    closing = "</think>" if opened[1] == "<think>" else opened[1]
    end = text.find(closing, start)
    return (start, end, end + len(closing)) if end >= 0 else (start, len(text), len(text))
