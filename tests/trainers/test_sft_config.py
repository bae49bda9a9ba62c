"""The training file: what is refused, how the message reads, and what goes into the training key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError, SnapshotError
from schemas.yaml_file import load_yaml
from trainers.checkpoint import finished, make_plan, planned_checkpoint, sole_trainer
from trainers.config import SftConfig
from warehouse.snapshot import open_snapshot
from warehouse.tagging import tag_snapshot

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["epoch=3"],
            "sft.yaml: epoch=3: epoch is no setting here; did you mean epochs? there are: name, warehouse, snapshot,",
        ),
        (["epochs=0"], "sft.yaml: epochs=0: epochs is 0: input should be greater than or equal to 1 (how often"),
        (["epochs=many"], "epochs is 'many': input should be a valid integer"),
        (["optimizer.name=adam"], "optimizer.name: there is no 'optimizer' (there are: "),
        (["snapshot=sums"], "snapshot is 'sums': string should match pattern"),
        (["name=../up"], "name is '../up'"),
        (["learning_rate=.nan"], "learning_rate is nan"),
        (["learning_rate=1e-6"], "final_learning_rate is 5e-06, above learning_rate 1e-06"),
        (["betas=[0.9, 1.0]"], "betas are [0.9, 1.0]; each must be at least 0 and below 1"),
        (["overlong=skip"], "overlong is 'skip'"),
        (["epochs"], "epochs: overrides are written key=value"),
        (["epochs=[1"], "epochs=[1: '[1' is no YAML value"),
        (["epochs=0", "seed=-1"], "(and 1 more)"),
    ],
)
def test_bad_setting_is_refused_in_one_line(write_config: Write, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_yaml(write_config(), SftConfig, overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_message_names_the_line_of_the_file(write_config: Write) -> None:
    path = write_config()
    path.write_text("# a comment\n" + path.read_text() + "epochs: 0\n")
    with pytest.raises(ConfigError, match=r"sft\.yaml:8: epochs is 0"):
        load_yaml(path, SftConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no settings"), ("- a\n", "holds no settings"), ("a: [", "no YAML"), ("{}", "name is missing")],
)
def test_file_that_is_no_training_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_yaml(path, SftConfig)
    with pytest.raises(ConfigError, match="no such file"):
        load_yaml(tmp_path / "none.yaml", SftConfig)


def test_overrides_replace_the_file_and_read_exponents_as_numbers(write_config: Write) -> None:
    config = load_yaml(write_config(epochs=5), SftConfig, ["epochs=7", "learning_rate=1e-3", "betas=[0.8, 0.9]"])
    assert (config.epochs, config.learning_rate, config.betas) == (7, 0.001, (0.8, 0.9))


def test_every_setting_has_a_help_text() -> None:
    assert [n for n, f in SftConfig.model_fields.items() if not f.description] == []


def test_key_follows_what_changes_the_result_and_nothing_else(
    write_snapshot: Write, write_config: Write, sums: Callable[..., Any]
) -> None:
    write_snapshot(sums(4))
    plan = make_plan(load_yaml(write_config(), SftConfig))
    same = ["threads=2", "save_every=3", "log_every=9", "micro_batch_tokens=99", "output=elsewhere"]
    assert make_plan(load_yaml(write_config(), SftConfig, same)).key == plan.key
    for change in ("epochs=9", "seed=1", "learning_rate=1e-4", "batch_size=3", "max_length=99", "overlong=drop"):
        assert make_plan(load_yaml(write_config(), SftConfig, [change])).key != plan.key
    write_snapshot(sums(5), version=2)
    assert make_plan(load_yaml(write_config(), SftConfig, ["snapshot=sums@2"])).key != plan.key
    assert planned_checkpoint(plan.config) == plan.folder
    assert finished(plan.folder) is None


def test_a_tag_names_the_version_that_is_written_down(
    write_snapshot: Write, write_config: Write, sums: Callable[..., Any]
) -> None:
    warehouse = write_snapshot(sums(4))
    tag_snapshot(open_snapshot(warehouse, "sums@1"), "release")
    plan = make_plan(load_yaml(write_config(snapshot="sums@release"), SftConfig))
    assert plan == make_plan(load_yaml(write_config(), SftConfig))
    assert plan.config.snapshot == "sums@1"
    with sole_trainer(plan):
        assert json.loads((plan.partial / "planned.json").read_text())["snapshot"] == "sums@1"
    with pytest.raises(SnapshotError, match=r"there is no snapshot sums@nosuch \(known: sums@1\)"):
        make_plan(load_yaml(write_config(snapshot="sums@nosuch"), SftConfig))


def test_a_snapshot_of_other_rows_is_refused_in_one_line(write_config: Write, write_snapshot: Any, sums: Any) -> None:
    manifest = write_snapshot(sums(2)) / "snapshots" / "sums" / "v1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"mix": {"rows": "pairs"}}))
    with pytest.raises(SnapshotError) as refused:
        make_plan(load_yaml(write_config(), SftConfig))
    assert str(refused.value) == "sums@1: its rows are pairs, and this trainer learns from samples"


def test_start_weights_are_known_by_their_description_or_their_bytes(
    write_snapshot: Write, write_config: Write, sums: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    write_snapshot(sums(4))
    model = tmp_path / "copy"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).symlink_to(file)
    config = load_yaml(write_config(), SftConfig, [f"model={model}"])
    original = make_plan(load_yaml(write_config(), SftConfig))
    assert make_plan(config).key == original.key
    (model / "model.json").write_text(json.dumps({"sha256": "f" * 64, "policy": "known@1"}))
    described = make_plan(config)
    assert (described.start.policy, described.start.sha256) == ("known@1", "f" * 64)
    (model / "model.json").write_text(json.dumps({"policy": "known@1", "license": "Apache-2.0"}))
    assert make_plan(config).start.license == "Apache-2.0"
    trained = {"weights_sha256": "e" * 64, "policy": "tiny@e", "start": {"license": "Apache-2.0"}}
    (model / "training.json").write_text(json.dumps(trained))
    assert (make_plan(config).start.policy, make_plan(config).start.license) == ("tiny@e", "Apache-2.0")


def test_folder_without_a_model_is_refused(
    write_snapshot: Write, write_config: Write, sums: Callable[..., Any], tmp_path: Path
) -> None:
    write_snapshot(sums(4))
    with pytest.raises(ConfigError, match=r"is no model in Hugging Face format \(no config\.json there\)"):
        make_plan(load_yaml(write_config(model=str(tmp_path)), SftConfig))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        make_plan(load_yaml(write_config(model=str(tmp_path)), SftConfig))
