"""Tokens counted by a tokenizer that is named."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from dataengine.engines.weights import SHIPPED, find_model
from schemas.errors import EngineError


class Tokenizer:
    """The tokenizer of a shipped model, by its name, or that of a folder with a tokenizer.json.

    Nothing is downloaded. `digest` tells its content, `name` is `folder@digest`. Raises TypeError or ValueError, naming
    the setting.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"tokenizer is {name!r}; it must be the name of a shipped model or a folder")
        if importlib.util.find_spec("tokenizers") is None:
            raise ValueError("tokenizer needs the package tokenizers: pip install tokenizers")
        from tokenizers import Tokenizer as HuggingFaceTokenizer

        file = _folder(name) / "tokenizer.json"
        if not file.is_file():
            raise ValueError(f"tokenizer is {name}: it has no tokenizer.json (shipped models: {', '.join(SHIPPED)})")
        content = file.read_bytes()
        try:
            self._tokenizer = HuggingFaceTokenizer.from_buffer(content)
        except Exception as e:
            raise ValueError(f"tokenizer is {name}: its tokenizer.json cannot be read: {e}") from e
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.digest = hashlib.sha256(content).hexdigest()[:12]
        self.name = f"{file.parent.name}@{self.digest}"

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, none of them special tokens that the tokenizer would put around it.

        Lone surrogates are read as question marks.
        """
        readable = [t.encode("utf-8", "replace").decode() for t in texts]
        return [len(e) for e in self._tokenizer.encode_batch_fast(readable, add_special_tokens=False)]


def _folder(name: str) -> Path:
    try:
        return find_model(name).folder if name in SHIPPED else Path(name).expanduser().resolve()
    except EngineError as e:
        raise ValueError(f"tokenizer is {e}") from e
