"""A tokenizer with its chat template, opened from a folder or of a shipped model."""

import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataengine.chat_template import FAULTS, ChatTemplate, Rendered
from dataengine.engines.weights import SHIPPED, find_model
from dataengine.progress import Progress
from schemas.errors import ConfigError
from schemas.mix import AnyMix, Mix
from warehouse.fitting import Measured
from warehouse.hashing import sha256_of


class ChatTokenizer:
    """What a mix's rows are measured with: see `warehouse.fitting.Chat`."""

    def __init__(self, name: str, template: ChatTemplate) -> None:
        self.name = name
        self.template = template

    @property
    def sha256(self) -> str:
        """Of the chat template's text."""
        return self.template.sha256

    def measure(self, batches: Iterable[Sequence[tuple[str, Any]]], rows: int) -> Iterator[list[Measured]]:
        """What the template makes of each of so many rows, given in batches of (id, messages)."""
        with Progress("chat template", rows) as progress:
            for batch in batches:
                turns = self.template.measure([messages for _, messages in batch])
                yield [_measured(ident, turn) for (ident, _), turn in zip(batch, turns, strict=True)]
                progress.advance(len(batch))


def _measured(ident: str, turn: Rendered) -> Measured:
    if not turn.faults:
        return Measured(ident, turn.tokens, turn.loss_tokens)
    fault = turn.faults[0]
    return Measured(ident, fault=fault, problem=FAULTS[fault] + (f" ({turn.detail})" if turn.detail else ""))


def open_chat(name: str) -> ChatTokenizer:
    """The tokenizer that a mix's `chat_template` names. Raises ConfigError for one that cannot be used."""
    return open_tokenizer(name, "chat_template.tokenizer:")


def look_over_chat(mix: AnyMix) -> None:
    """Raises ConfigError for a mix whose `chat_template` names no tokenizer that is there; opens none."""
    if isinstance(mix, Mix) and mix.chat_template is not None:
        _folder(mix.chat_template.tokenizer, "chat_template.tokenizer:")


def open_tokenizer(name: str, setting: str, template: Path | None = None) -> ChatTokenizer:
    """The tokenizer in a folder or of a shipped model, with the template of a file where one is named.

    Nothing is downloaded. Raises ConfigError, which begins with the `setting` that named it, for what cannot be used.
    """
    folder = _folder(name, setting)
    loaded = _load(name, folder, setting, template)
    file = folder / "tokenizer.json"
    version = f"@{sha256_of(file)[:12]}" if file.is_file() else ""
    return ChatTokenizer(folder.name + version, ChatTemplate(loaded, _end_ids(loaded, folder)))


def _folder(name: str, setting: str) -> Path:
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError("a chat template is rendered with transformers: pip install 'dataengine[train]'")
    folder = find_model(name).folder if name in SHIPPED else Path(name).expanduser().resolve()
    if not (folder / "tokenizer_config.json").is_file():
        raise ConfigError(
            f"{setting} {name}: there is no tokenizer_config.json in it; name a folder with a tokenizer in Hugging "
            f"Face format, or a shipped model ({', '.join(SHIPPED)})"
        )
    return folder


def _load(name: str, folder: Path, setting: str, template: Path | None) -> Any:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as e:
        raise ConfigError(f"{setting} {name}: cannot be loaded: {' '.join(str(e).split())}") from e
    if template is not None:
        try:
            tokenizer.chat_template = template.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"--template {template}: is no text in UTF-8") from None
        except OSError as e:
            raise ConfigError(f"--template {template}: cannot be read: {e.strerror}") from None
    try:
        tokenizer.get_chat_template()
    except ValueError:
        other = ", or name one by --template FILE" if setting == "--tokenizer" else ""
        raise ConfigError(f"{setting} {name}: has no chat template; put a chat_template.jinja there{other}") from None
    return tokenizer


def _end_ids(tokenizer: Any, folder: Path) -> set[int]:
    """The ids of the tokens that end a generation, by the tokenizer and by the model's files beside it."""
    ends = [tokenizer.eos_token_id]
    for file in ("generation_config.json", "config.json"):
        if (folder / file).is_file():
            try:
                configured = json.loads((folder / file).read_text(encoding="utf-8")).get("eos_token_id")
            except (ValueError, AttributeError):
                raise ConfigError(f"{folder / file}: is no JSON object") from None
            ends += configured if isinstance(configured, list) else [configured]
            break
    found = {i for i in ends if isinstance(i, int)}
    if not found:
        raise ConfigError(f"{folder}: names no token that ends a generation; set eos_token in tokenizer_config.json")
    return found
