"""What TRL, LLaMA-Factory and Axolotl have to be told of an export: files that lie beside its data.

Paths in them are relative: the trainers are started in the export's folder. A trainer that would lose something of a
format (turns, or reasoning in a key of its own) gets no file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from schemas.manifest import Manifest
from warehouse.formats import FORMATS, Turns

# What TRL calls the training of a format by kind of rows, the columns that it reads, and what is learnt of a row.
_TRL = {
    ("messages", "samples"): ("sft", "[messages]", "assistant_only_loss: true"),
    ("openai", "samples"): ("sft", "[messages]", "assistant_only_loss: true"),
    ("prompt-completion", "samples"): ("sft", "[prompt, completion]", "completion_only_loss: true"),
    ("prompt-completion", "labels"): ("kto", "[prompt, completion, label]", ""),
    ("preference", "pairs"): ("dpo", "[prompt, chosen, rejected]", ""),
    ("prompts", "prompts"): ("grpo", "[prompt, reference, verifier, metadata]", ""),
}
# By the ending of a file, what `datasets` calls its type.
_TYPES = {"parquet": "parquet", "jsonl": "json"}


@dataclass(frozen=True)
class Exported:
    """What was exported: a snapshot in a format, the names of its files by split.

    `longest` counts the tokens of the longest row by the tokenizer of its policy, None where rows have no count.
    `alternates` is whether user and assistant take turns in all of its rows.
    """

    manifest: Manifest
    form: str
    reasoning: str
    files: Mapping[str, Sequence[str]]
    longest: int | None
    alternates: bool


def stanzas(exported: Exported) -> dict[str, str]:
    """The files, by name; none where there is nothing to train on."""
    if "train" not in exported.files:
        return {}
    made = {
        "trl.yaml": _trl(exported),
        "dataset_info.json": _dataset_info(exported),
        "llama-factory.yaml": _llama_factory(exported),
        "axolotl.yaml": _axolotl(exported),
    }
    return {name: text for name, text in made.items() if text}


def _trl(exported: Exported) -> str:
    known = _TRL.get((exported.form, exported.manifest.rows_of))
    if known is None:
        return ""
    command, columns, learnt = known
    ending = FORMATS[exported.form].ending
    lines = [f"# In this folder: trl {command} --config trl.yaml --model_name_or_path MODEL --output_dir DIR"]
    if command == "dpo":
        lines += ["# A reward model learns from the same lines: trl reward in place of trl dpo."]
    if command == "grpo":
        lines += ["# with --reward_funcs of your own, which are given the columns beside the prompt."]
    if "validation" in exported.files:
        # TRL's own evaluation split would be drawn by row, with prompts on both sides.
        load = f'load_dataset("{_TYPES[ending]}", data_files="validation-*.{ending}", split="train")'
        lines += ["# TRL takes rows to evaluate on in Python alone:", f"# eval_dataset={load}"]
    lines += ["datasets:", f"  - path: {_TYPES[ending]}", f'    data_files: "train-*.{ending}"', "    split: train"]
    lines += [f"    columns: {columns}"]
    lines += [learnt] if learnt else []
    if command != "grpo":
        lines += [f"# Nothing is cut; TRL's own default is 1024 tokens.{_length(exported)}", "max_length: null"]
    return _text(lines)


def _llama_names(exported: Exported) -> Iterator[tuple[str, str, str]]:
    """Split, name and file of each data set that LLaMA-Factory sees: one for each file, since it takes no pattern."""
    for split, files in exported.files.items():
        for number, file in enumerate(files):
            shard = f"-{number:05d}" if len(files) > 1 else ""
            yield split, f"{exported.manifest.name}-v{exported.manifest.version}-{split}{shard}", file


def _dataset_info(exported: Exported) -> str:
    # LLaMA-Factory reads a message's content alone, and leaves out rows whose turns do not alternate.
    if exported.reasoning == "split" or not exported.alternates:
        return ""
    turns = FORMATS[exported.form].turns
    entry: dict[str, object]
    if exported.form == "alpaca":
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        entry = {"formatting": "alpaca", "columns": {**columns, "system": "system", "history": "history"}}
    elif turns:
        entry = {"formatting": "sharegpt", "columns": {"messages": turns.column}, "tags": _tags(turns)}
    else:
        return ""
    found = {name: {"file_name": file, **entry} for _, name, file in _llama_names(exported)}
    return json.dumps(found, indent=2) + "\n"


def _tags(turns: Turns) -> dict[str, str]:
    return {
        "role_tag": turns.role,
        "content_tag": turns.content,
        "user_tag": turns.user,
        "assistant_tag": turns.assistant,
        "system_tag": "system",
    }


def _llama_factory(exported: Exported) -> str:
    if not _dataset_info(exported):
        return ""
    names = [(split, name) for split, name, _ in _llama_names(exported)]
    lines = ["# Beside your model, template and output_dir; in this folder: llamafactory-cli train llama-factory.yaml"]
    lines += ['dataset_dir: "."']
    for key, wanted in (("dataset", "train"), ("eval_dataset", "validation")):
        chosen = ",".join(name for split, name in names if split == wanted)
        lines += [f"{key}: {chosen}"] if chosen else []
    lines += ["# The last reply alone is learnt.", "mask_history: true"]
    lines += [f"# LLaMA-Factory cuts rows at cutoff_len, 2048 by default.{_length(exported)}"]
    return _text(lines)


def _axolotl(exported: Exported) -> str:
    turns = FORMATS[exported.form].turns
    if turns is None:
        return ""
    mapped = {"role": turns.role, "content": turns.content}
    if exported.reasoning == "split":
        mapped["reasoning_content"] = "reasoning_content"
    lines = ["# Beside your base_model; in this folder: axolotl train YOURS.yaml"]
    lines += [f"# Axolotl leaves out rows over sequence_len, 512 by default.{_length(exported)}"]
    ending = FORMATS[exported.form].ending
    for key, split in (("datasets", "train"), ("test_datasets", "validation")):
        if split in exported.files:
            lines += [f"{key}:", '  - path: "."', f"    ds_type: {_TYPES[ending]}"]
            # A list of files is one split, which is called train.
            lines += [f'    data_files: ["{split}-*.{ending}"]', "    split: train", "    type: chat_template"]
            lines += [f"    field_messages: {turns.column}", "    message_property_mappings:"]
            lines += [f"      {name}: {source}" for name, source in mapped.items()]
            lines += ["    roles_to_train: [assistant]"]
    return _text(lines)


def _length(exported: Exported) -> str:
    if exported.longest is None:
        return ""
    return f" The longest row has {exported.longest:,} tokens, as its policy's tokenizer counts."


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
