"""TRL takes what is written for it: its parser the lines, its trainers the rows, which they tokenise whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import numbered_sums, save_llama
from tests.warehouse.talks import ASSISTANT, Talk, apart, kept, talk_of
from warehouse.export import export_snapshot
from warehouse.snapshot import Snapshot

# Reasoning that stands apart is put back into tags, and the marks of TRL's loss on the assistant's words are there.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{% if message.reasoning_content %}{{ '<think>\n' + message.reasoning_content + '\n</think>\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# TRL's own, on what transformers will remove.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
OPTIONS = ("--use_cpu", "--report_to", "none", "--bf16", "false", "--disable_tqdm", "true")
Load = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [f"{row['question']}\n{row['reply']}" for row in numbered_sums(100)]
    return save_llama(tmp_path_factory.mktemp("trl"), TEMPLATE, texts, 300, max_position_embeddings=1024)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def load(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """The arguments and the data set that `trl COMMAND --config trl.yaml` trains with, in the folder of an export."""

    def taken(snapshot: Snapshot, form: str, command: str, *more: str, reasoning: str = "content") -> tuple[Any, Any]:
        import importlib

        from trl import get_dataset

        out = tmp_path / f"{form}-{command}"
        export_snapshot(snapshot, form, out, reasoning=reasoning, shard_rows=2)
        monkeypatch.chdir(out)
        told = ["--config", "trl.yaml", "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "trained")]
        parser = importlib.import_module(f"trl.scripts.{command}").make_parser()
        # What the parser does not know is an error here.
        _, arguments, _, mixture = parser.parse_args_and_config([*told, *OPTIONS, *more])
        return arguments, get_dataset(mixture)["train"]

    return taken


@pytest.fixture
def tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


def rendered(talk: Talk) -> str:
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in talk)


@pytest.mark.parametrize("reasoning", ["content", "split"])
@pytest.mark.parametrize("form", ["messages", "openai", "prompt-completion"])
def test_sft_learns_every_reply_to_the_letter(
    every_kind: dict[str, Snapshot], load: Load, model: Path, tokenizer: Any, form: str, reasoning: str
) -> None:
    from trl import SFTTrainer

    arguments, rows = load(every_kind["samples"], form, "sft", reasoning=reasoning)
    trainer = SFTTrainer(str(model), arguments, train_dataset=rows)
    for row, was in zip(trainer.train_dataset, kept(every_kind["samples"])["train"], strict=True):
        talk = talk_of(was) if reasoning == "content" else apart(talk_of(was))
        assert tokenizer.decode(row["input_ids"]) == rendered(talk)
        replies = [content for role, content in talk if role == ASSISTANT]
        learnt = f"{replies[-1]}<|im_end|>\n" if form == "prompt-completion" else "<|im_end|>".join([*replies, ""])
        assert tokenizer.decode([token for token in row["labels"] if token != -100]) == learnt


def test_dpo_takes_the_prompt_and_both_replies(
    every_kind: dict[str, Snapshot], load: Load, model: Path, tokenizer: Any
) -> None:
    from trl import DPOTrainer

    arguments, rows = load(every_kind["pairs"], "preference", "dpo")
    trainer = DPOTrainer(str(model), None, arguments, train_dataset=rows)
    for row, was in zip(trainer.train_dataset, kept(every_kind["pairs"])["train"], strict=True):
        prompt = rendered(talk_of({"messages": was["prompt"]})) + "<|im_start|>assistant\n"
        assert tokenizer.decode(row["prompt_ids"]) == prompt
        for side in ("chosen", "rejected"):
            assert tokenizer.decode(row[f"{side}_ids"]) == f"{was[side][0]['content']}<|im_end|>\n"


def test_a_reward_model_takes_both_conversations_of_the_same_lines(
    every_kind: dict[str, Snapshot], load: Load, model: Path, tokenizer: Any
) -> None:
    from trl import RewardTrainer

    arguments, rows = load(every_kind["pairs"], "preference", "reward")
    trainer = RewardTrainer(str(model), arguments, train_dataset=rows)
    for row, was in zip(trainer.train_dataset, kept(every_kind["pairs"])["train"], strict=True):
        for side in ("chosen", "rejected"):
            assert tokenizer.decode(row[f"{side}_ids"]) == rendered(talk_of({"messages": was["prompt"] + was[side]}))


@pytest.mark.parametrize("reasoning", ["content", "split"])
def test_kto_takes_the_reply_with_its_label(
    every_kind: dict[str, Snapshot], load: Load, model: Path, tokenizer: Any, reasoning: str
) -> None:
    from trl import KTOTrainer

    arguments, rows = load(every_kind["labels"], "prompt-completion", "kto", reasoning=reasoning)
    trainer = KTOTrainer(str(model), None, arguments, train_dataset=rows)
    labels = []
    for row, was in zip(trainer.train_dataset, kept(every_kind["labels"])["train"], strict=True):
        talk = talk_of({"messages": was["prompt"] + was["completion"]})
        whole = rendered(talk if reasoning == "content" else apart(talk))
        assert tokenizer.decode(row["prompt_ids"]) + tokenizer.decode(row["completion_ids"]) == whole
        assert tokenizer.decode(row["prompt_ids"]).endswith("<|im_start|>assistant\n")
        assert row["label"] is was["label"]
        labels.append(row["label"])
    assert set(labels) == {True, False}


def test_grpo_hands_rewards_what_verifies_a_reply(every_kind: dict[str, Snapshot], load: Load, model: Path) -> None:
    from trl import GRPOTrainer

    keys = ("prompt", "reference", "verifier", "metadata")
    asked: list[dict[str, Any]] = []

    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        told = [columns[name] for name in ("reference", "verifier", "metadata")]
        asked.extend(dict(zip(keys, row, strict=True)) for row in zip(prompts, *told, strict=True))
        return [float(i) for i in range(len(completions))]

    small = {"num_generations": 2, "per_device_train_batch_size": 2, "max_completion_length": 4, "num_train_epochs": 1}
    options = [text for name, value in small.items() for text in (f"--{name}", str(value))]
    arguments, rows = load(every_kind["prompts"], "prompts", "grpo", *options)
    trainer = GRPOTrainer(str(model), reward, arguments, train_dataset=rows)
    trainer.train()
    before = [{key: was[key] for key in keys} for was in kept(every_kind["prompts"])["train"]]
    assert sorted(asked[::2], key=str) == sorted(before, key=str)
