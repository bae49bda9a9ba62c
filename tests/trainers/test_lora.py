"""Low-rank adapters: what is trained, what states and checkpoints hold, how it resumes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import ConfigError
from schemas.yaml_file import load_yaml
from trainers.checkpoint import Plan, make_plan
from trainers.config import LoraConfig, SftConfig
from trainers.lora import add_adapters, load_adapters, merged_weights, save_model
from trainers.model import TokenLogProbs, load_model
from trainers.sft import train

Write = Callable[..., Path]
PEFT_WARNS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
IDS = torch.arange(3, 40).view(1, -1)


@pytest.fixture
def plan_of(write_snapshot: Write, write_config: Write, sums: Callable[..., Any]) -> Callable[..., Plan]:
    write_snapshot(sums(24), sums(6, first=60))

    def plan(**settings: Any) -> Plan:
        base = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "lora": {"r": 4, "alpha": 8, "dropout": 0.1}}
        return make_plan(load_yaml(write_config(**base | settings), SftConfig))

    return plan


def adapted(folder: Path, **settings: Any) -> Any:
    """A model with adapters that change what it computes."""
    model, _ = load_model(folder)
    add_adapters(model, LoraConfig(**settings), seed=0)
    for name, p in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(p, std=0.02)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def test_adapters_alone_are_trained_and_change_nothing_at_first(tiny_model: Path) -> None:
    plain = logits(load_model(tiny_model)[0])
    model, _ = load_model(tiny_model)
    add_adapters(model, LoraConfig(r=4), seed=0)
    assert torch.equal(logits(model), plain)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 7 * 4 and all(".lora_" in name for name in trained), "7 matrices in each of 4 layers"
    TokenLogProbs(model)(IDS, torch.tensor([4]), torch.tensor([7])).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trained


def test_merged_weights_are_a_plain_model_that_computes_the_same(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = adapted(tiny_model, r=4)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    save_model(model, tmp_path, "base", merge=True)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    merged, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not (logits(merged) - logits(load_model(tiny_model)[0])).abs().max() < 1e-3
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-4, atol=1e-5)
    assert set(merged.state_dict()) == set(load_model(tiny_model)[0].state_dict())


@PEFT_WARNS
def test_merging_is_peft_s_own(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    model = adapted(tiny_model, r=4, alpha=6)
    save_model(model, tmp_path, "base", merge=False)
    theirs = PeftModel.from_pretrained(load_model(tiny_model)[0], str(tmp_path)).merge_and_unload()
    ours = merged_weights(model)
    assert set(ours) == set(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours[name], tensor), name


def test_adapters_are_read_back_and_those_of_another_model_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = adapted(tiny_model, target_modules=["q_proj", "v_proj"])
    save_model(model, tmp_path, "base", merge=False)
    other, _ = load_model(tiny_model)
    add_adapters(other, LoraConfig(target_modules=("q_proj", "v_proj")), seed=1)
    load_adapters(other, tmp_path)
    assert torch.equal(logits(other), logits(model))
    third, _ = load_model(tiny_model)
    add_adapters(third, LoraConfig(target_modules=("k_proj",)), seed=1)
    with pytest.raises(ConfigError, match=r"holds no adapters for this model, e\.g\. .*k_proj"):
        load_adapters(third, tmp_path)


@pytest.mark.parametrize("name", ["nosuch", "lm_head", "embed_tokens", "mlp", "proj", ""])
def test_layers_that_cannot_get_one_are_refused(tiny_model: Path, name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        add_adapters(load_model(tiny_model)[0], LoraConfig(target_modules=("q_proj", name)), seed=0)
    assert str(refused.value) == (
        f"lora.target_modules: {name!r} is no layer that gets an adapter "
        "(there are: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj)"
    )


def test_without_peft_the_command_that_installs_it_is_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'peft"):
        add_adapters(None, LoraConfig(), seed=0)


def test_training_ends_in_merged_weights_and_a_card_that_says_so(plan_of: Any, tiny_model: Path) -> None:
    from huggingface_hub import ModelCard
    from safetensors.torch import load_file

    plan = plan_of()
    training = train(plan)
    start, end = (load_file(folder / "model.safetensors") for folder in (tiny_model, plan.folder))
    changed = {name for name, t in end.items() if not torch.equal(t, start[name])}
    assert set(start) == set(end) and len(changed) == 7 * 4
    assert training["losses"]["last"] < training["losses"]["first"] and "peft" in training["versions"]
    text = (plan.folder / "README.md").read_text()
    assert "Supervised fine-tuning of low-rank adapters (LoRA, rank 4, alpha 8), added to the weights, of `" in text
    assert ModelCard(text).data.to_dict()["base_model_relation"] == "finetune"
    assert not list(plan.folder.glob("adapter*"))
    again = make_plan(plan.config.model_copy(update={"model": plan.folder, "lora": None}))
    assert again.start.sha256 == training["weights_sha256"] and again.key != plan.key


@PEFT_WARNS
def test_adapters_alone_when_not_merged(plan_of: Any, tiny_model: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard
    from peft import PeftModel

    plan = plan_of(lora={"r": 4, "alpha": 8, "merge": False}, epochs=1)
    training = train(plan)
    name = training["start"]["policy"].partition("@")[0]
    told = ModelCard((plan.folder / "README.md").read_text()).data.to_dict()
    assert (told["base_model_relation"], told["base_model"], told["library_name"]) == ("adapter", name, "peft")
    assert json.loads((plan.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == name
    assert str(tmp_path) not in "".join(p.read_text() for p in plan.folder.glob("*.json") if p.name != "training.json")
    loaded = PeftModel.from_pretrained(load_model(tiny_model)[0], str(plan.folder))
    assert not torch.equal(logits(loaded), logits(load_model(tiny_model)[0]))
    with pytest.raises(ConfigError, match=r"holds adapters alone; train them with lora\.merge: true"):
        make_plan(plan.config.model_copy(update={"model": plan.folder}))


def test_interrupted_training_resumes_to_the_same_weights(
    plan_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train(plan_of(output=str(tmp_path / "a")))
    plan = plan_of(output=str(tmp_path / "b"), save_every=2)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr("trainers.sft.refuse_infinite", _dies_at(4))
        train(plan)
    (state,) = plan.partial.glob("state-*")
    assert state.name == "state-00000002" and not (state / "model.safetensors").exists()
    assert (state / "adapter_model.safetensors").is_file()
    resumed = train(plan)
    assert resumed["weights_sha256"] == undisturbed["weights_sha256"]
    assert resumed["losses"] == undisturbed["losses"]


def _dies_at(step: int) -> Callable[..., None]:
    def look(loss: float, grad_norm: float, at: int) -> None:
        if at == step:
            raise RuntimeError("power cut")

    return look
