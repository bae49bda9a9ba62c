"""The training figures of the R1 report, as settings that a training file takes over by `preset: NAME`.

What the file or the command line sets goes over them. [v1] and [v2] say which version of the report has a figure; one
marked "ours" is not published, or chosen within what is. docs/trainers.md has the whole list, a test compares.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Settings of one trainer (`sft`, `distill`, `grpo`), and in a few words what they are of."""

    trainer: str
    about: str
    values: dict[str, Any]


_SFT = {
    "epochs": 2,  # [v1]; [v2] has 2 to 3
    "learning_rate": 5e-5,  # [v2]
    "final_learning_rate": 5e-6,  # [v2], by a cosine
    "batch_size": 128,  # [v2]
    "max_length": 32_768,  # [v2], the context
}

SFT = {
    "r1-cold-start": Preset("sft", "R1, stage 1: SFT of the base model on cold-start data", _SFT),
    "r1-sft": Preset("sft", "R1, stage 3: SFT anew, from the base model, on the whole mix", _SFT),
}


def _distilled(student: str, rate: float) -> Preset:
    values = {
        "epochs": 2,  # [v2] has 2 to 3; the lower end is ours
        "learning_rate": rate,  # [v2], by student
        "final_learning_rate": float(f"{rate / 10:g}"),  # [v2]: the cosine goes to a tenth
        "batch_size": 64,  # [v2]
        "max_length": 32_768,  # [v2], the context
    }
    return Preset("distill", f"{student} on R1's replies", values)


# The initial rates of [v2].
DISTILL = {
    f"r1-distill-{student.lower()}": _distilled(student, rate)
    for student, rate in {
        "Qwen2.5-Math-1.5B": 1e-4,
        "Qwen2.5-Math-7B": 8e-5,
        "Qwen2.5-14B": 7e-5,
        "Qwen2.5-32B": 6e-5,
        "Llama-3.1-8B": 5e-5,
        "Llama-3.3-70B-Instruct": 2e-5,
    }.items()
}

_ZERO = {
    "learning_rate": 3e-6,  # [v2]
    "kl_coefficient": 0.001,  # [v2]
    "temperature": 1.0,  # [v2]
    "group_size": 16,  # [v2], G
    "prompts_per_step": 32,  # [v2]; times G a batch of 512
    "steps_per_rollout": 16,  # [v2]: 8,192 outputs in 16 minibatches, one inner epoch
    "reference_every": 400,  # [v2]
    "max_tokens": 32_768,  # [v2]
    "form": "sequence",  # the equation of both versions
    "rewards": ["accuracy", "format"],  # [v1], [v2], of equal weight
}
_LATER = {
    **_ZERO,
    "clip": 10.0,  # [v2], eps
    "rewards": ["accuracy", "format", "language"],  # [v1], [v2]; that format stays is ours
}

GRPO = {
    "r1-zero": Preset(
        "grpo",
        "R1-Zero: RL from the base model",
        {
            **_ZERO,
            "steps": 10_400,  # [v2]
            "later_max_tokens": {8_200: 65_536},  # [v2]
            "template": "r1_zero",  # [v1], [v2]
        },
    ),
    # Its number of steps and its template are not published: they stay the trainer's defaults, or the file's.
    "r1-stage-2": Preset("grpo", "R1, stage 2: reasoning RL from the cold start", _LATER),
    "r1-stage-4": Preset(
        "grpo",
        "R1, stage 4, with rewards by rules alone: the preference rewards of its last 400 steps need reward models",
        {
            **_LATER,
            "temperature": 0.7,  # [v2]
            "steps": 1_700,  # [v2]
        },
    ),
    "qwen-32b-zero": Preset(
        "grpo",
        "Qwen-32B-Zero: RL from a base model of 32B, to be compared with distillation",
        {
            **_ZERO,
            "learning_rate": 2e-6,  # [v2]
            "steps": 10_000,  # [v2]: over 10K
            "template": "r1_zero",  # ours, as for R1-Zero
        },
    ),
}

PRESETS: dict[str, Preset] = {**SFT, **DISTILL, **GRPO}


def values_of(name: object, trainer: str) -> dict[str, Any]:
    """The settings of a preset. Raises ValueError, which lists the trainer's presets, for one that it does not have."""
    known = [other for other, preset in PRESETS.items() if preset.trainer == trainer]
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        raise ValueError(f"preset {name!r} is not known to {trainer}; there are: {', '.join(known) or 'none yet'}")
    if preset.trainer != trainer:
        raise ValueError(
            f"preset {name!r} is of `trainers {preset.trainer}`, and this file is read by `trainers {trainer}`; its "
            f"presets are: {', '.join(known) or 'none yet'}"
        )
    return preset.values
