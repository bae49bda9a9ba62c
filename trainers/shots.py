"""Worked examples for few-shot evaluation, beside zero-shot: the R1 report warns that they hurt."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from dataengine.prompting import system_prompt
from dataengine.sources.build import PromptSet, build
from dataengine.sources.files import prompts_of
from dataengine.sources.rows import read_rows
from dataengine.verify.extract import final_answer
from schemas.errors import ConfigError, first_problem
from schemas.recipe import DatasetsSource, Demonstration, FileSource, Source
from schemas.records import Prompt

# Templates that ask for the final answer in its tags.
_TAGGED = ("think", "reflect", "r1_zero")


def worked_examples(
    shots_from: str | None, sources: Mapping[str, Source], evaluated: PromptSet, template: str, most: int
) -> dict[str, list[Demonstration]]:
    """`most` worked examples for each source of the evaluated prompts, none of which is evaluated.

    `shots_from` is a prompt set, of which they are drawn by the hash of the question, a file with rows of `question`,
    `reasoning` and `answer`, taken in its order, or None for what each set names as its `demonstrations`. Fewer shots
    are the first of more. Raises ConfigError where there are not enough, InputError for a file that cannot be read.
    """
    names = sorted({p.source for p in evaluated.prompts})
    if most == 0:
        return {}
    if shots_from is None:
        given = {name: evaluated.demonstrations.get(name, []) for name in names}
    elif shots_from in sources:
        given = dict.fromkeys(names, _drawn(shots_from, sources[shots_from], sources, template))
    else:
        given = dict.fromkeys(names, _listed(Path(shots_from).expanduser(), sources))
    asked = {_question(p.messages[-1].content) for p in evaluated.prompts}
    chosen = {}
    for name, listed in given.items():
        examples = [d for d in listed if _question(d.question) not in asked][:most]
        if len(examples) < most:
            where = f"shots_from: {shots_from}" if shots_from else f"{name}: its `demonstrations`"
            raise ConfigError(
                f"{where}: {len(examples)} worked examples that are not evaluated, and {most} shots are wanted; "
                "name a larger set or file in shots_from"
            )
        chosen[name] = examples
    return chosen


def _drawn(name: str, source: Source, sources: Mapping[str, Source], template: str) -> list[Demonstration]:
    if isinstance(source, FileSource | DatasetsSource):
        found = prompts_of(source, solutions=True)
    else:
        found = build(name, sources)
    prompts = sorted((p for p in found.prompts if p.reference), key=lambda p: p.prompt_id)
    if template in _TAGGED and not any(p.prompt_id in found.solutions for p in prompts):
        raise ConfigError(
            f"shots_from: {name} has no worked solutions that its layout knows of, and the template {template} asks "
            "for reasoning; name a file with rows of question, reasoning and answer, or evaluate with template=plain"
        )
    return [
        _demonstration(prompt, found.solutions.get(prompt.prompt_id, ""), template)
        for prompt in prompts
        if template not in _TAGGED or prompt.prompt_id in found.solutions
    ]


def _demonstration(prompt: Prompt, solution: str, template: str) -> Demonstration:
    reference = str(prompt.reference)
    found = final_answer(reference, reference) if "\\boxed" in reference else None
    answer = f"The answer is {found.value if found else reference}."
    question = prompt.messages[-1].content
    if template in _TAGGED:
        tagged = f"{answer}\n<answer>{found.value if found else reference}</answer>"
        return Demonstration(question=question, reasoning=solution, answer=tagged)
    if system_prompt(template) is not None:
        return Demonstration(question=question, reasoning=solution, answer=answer)
    return Demonstration(question=question, reasoning="", answer=f"{solution}\n{answer}".strip())


def _listed(path: Path, sources: Mapping[str, Source]) -> list[Demonstration]:
    if not path.exists():
        raise ConfigError(f"shots_from: {path} is neither a file nor a prompt set (there are: {', '.join(sources)})")
    listed = []
    for row in read_rows(path):
        try:
            if row.problem:
                raise ConfigError(f"{row.place}: {row.problem}")
            listed.append(Demonstration.model_validate(row.value))
        except ValidationError as e:
            raise ConfigError(f"{row.place}: no worked example: {first_problem(e)}") from None
    return listed


def _question(text: str) -> str:
    """Two prompts that differ in case or space alone ask the same."""
    return " ".join(text.split()).casefold()
