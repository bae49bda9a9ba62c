"""Presets: which values they have, what goes over them, what is refused."""

import fnmatch
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import ConfigError
from schemas.yaml_file import load_yaml
from trainers.checkpoint import make_plan
from trainers.config import DistillConfig, SftConfig, TrainingConfig
from trainers.evaluate import EvaluateConfig
from trainers.fields import list_fields, list_presets
from trainers.grpo_config import GrpoConfig
from trainers.presets import PRESETS

Write = Callable[..., Path]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "trainers.md"


def config_of(trainer: str) -> type[TrainingConfig]:
    return {"sft": SftConfig, "distill": DistillConfig, "grpo": GrpoConfig}[trainer]


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_with_a_preset_has_its_values(name: str, write_config: Write) -> None:
    preset = PRESETS[name]
    config = load_yaml(write_config(preset=name), config_of(preset.trainer))
    told = config.model_dump(include=set(preset.values))
    if "rewards" in told:
        told["rewards"] = [reward["name"] for reward in told["rewards"]]
    assert told == preset.values
    assert config.preset == name


def test_what_the_file_and_the_command_line_say_goes_over_the_preset(write_config: Write) -> None:
    path = write_config(preset="r1-cold-start", batch_size=8)
    config = load_yaml(path, SftConfig, ["max_length=64", "epochs=3"])
    assert (config.batch_size, config.max_length, config.epochs) == (8, 64, 3)
    assert (config.learning_rate, config.final_learning_rate) == (5e-5, 5e-6)
    by_command = load_yaml(write_config(), DistillConfig, ["preset=r1-distill-llama-3.3-70b-instruct"])
    assert (by_command.learning_rate, by_command.final_learning_rate, by_command.batch_size) == (2e-5, 2e-6, 64)


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("r1", "sft.yaml:7: preset 'r1' is not known to sft; there are: r1-cold-start, r1-sft"),
        (
            "r1-zero",
            "sft.yaml:7: preset 'r1-zero' is of `trainers grpo`, and this file is read by `trainers sft`; its presets "
            "are: r1-cold-start, r1-sft",
        ),
        ("r1-distill-qwen2.5-14b", "is of `trainers distill`, and this file is read by `trainers sft`"),
        (["r1-sft"], "sft.yaml:7: preset is ['r1-sft']: input should be a valid string"),
    ],
)
def test_a_preset_that_is_not_there_or_of_another_trainer_is_refused(
    write_config: Write, preset: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_yaml(write_config(preset=preset), SftConfig)
    assert message in str(refused.value)


def test_the_values_count_for_the_training_key_and_the_presets_name_does_not(
    write_snapshot: Write, write_config: Write, sums: Callable[..., Any]
) -> None:
    write_snapshot(sums(4))
    plan = make_plan(load_yaml(write_config(preset="r1-cold-start"), SftConfig))
    written_out = write_config(**PRESETS["r1-cold-start"].values)
    assert make_plan(load_yaml(written_out, SftConfig)).key == plan.key
    assert make_plan(load_yaml(write_config(), SftConfig)).key != plan.key


def test_presets_and_fields_are_listed_with_their_values() -> None:
    text = "\n".join(list_presets())
    assert set(re.findall(r"^(\S+)   trainers", text, re.MULTILINE)) == set(PRESETS)
    assert "r1-cold-start   trainers sft: R1, stage 1" in text
    assert "\n    final_learning_rate: 8.0e-06\n" in text
    assert "\n    later_max_tokens: {8200: 65536}\n" in text
    fields = list(list_fields("distill"))
    assert fields[0] == "name:" and "epochs: 2" in fields and "    stages: 10" in fields
    assert all(f"{name}:" in "\n".join(list_fields("evaluate")) for name in EvaluateConfig.model_fields)
    with pytest.raises(ConfigError, match="there is no trainer 'dpo' \\(there are: sft, distill, "):
        list(list_fields("dpo"))


def published() -> list[tuple[list[str], dict[str, Any]]]:
    """The rows of the table "The published figures": presets, and the settings that they have there."""
    text = DOCS.read_text(encoding="utf-8")
    rows = []
    for line in text[text.index("## The published figures") :].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and (presets := re.findall(r"`([\w.*-]+)`", cells[2])):
            settings: dict[str, Any] = {}
            for said in re.findall(r"`([^`]+)`", cells[3]):
                settings |= yaml.safe_load(said)
            rows.append((presets, settings))
    return rows


def test_the_table_of_published_figures_says_what_the_presets_have() -> None:
    shown: dict[str, dict[str, Any]] = {name: {} for name in PRESETS}
    for presets, settings in published():
        for pattern in presets:
            meant = fnmatch.filter(PRESETS, pattern)
            assert meant, f"there is no preset {pattern}"
            for name in meant:
                shown[name] |= settings
    assert shown == {name: preset.values for name, preset in PRESETS.items()}
