"""A row through a chat template: what is read, what is learnt, and whether all of the reply is there exactly once."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataengine.prompting import take_apart
from schemas.errors import ConfigError

Messages = Sequence[dict[str, str]]

# Replies encoded in one call: enough to keep the cores busy. While they are, each token takes some hundred bytes.
_BATCH = 64
_MARKERS = "[\U000f0000-\U0010ffff]"

#: What can be wrong with a row under a template, most telling first.
FAULTS = {
    "no_reply": "the row does not end with an assistant's turn after a prompt",
    "refused": "the chat template refuses it or fails",
    "not_continued": "the chat template does not go on from its own generation prompt, so what the model would have to "
    "write is not defined",
    "reasoning_lost": "the chat template drops or rewrites part of the reply: its reasoning is gone or changed",
    "reasoning_twice": "the chat template writes the reply's reasoning more than once",
    "answer_lost": "the chat template drops or rewrites part of the reply: its answer is gone or changed",
    "answer_twice": "the chat template writes the reply's answer more than once",
    "reply_changed": "the chat template drops or rewrites part of the reply: its tags or the space around them",
    "no_end": "the chat template does not end a reply with a token that ends generation",
    "text_after_end": "the chat template writes text after the token that ends the reply",
    "empty": "the reply is empty: there is nothing to learn",
}


@dataclass(frozen=True)
class Rendered:
    """The last turn of a row as a template writes it.

    Without `faults` the whole row is `prompt`, which ends with the generation prompt, `reply` word for word, the token
    `end`, and then nothing but white space and special tokens: so the reply stands in it exactly once. With them,
    `detail` says more of the first one. `tokens` of the whole row, `loss_tokens` of them learnt, are 0 with faults or
    where nobody counted. `forgotten` are earlier turns of the assistant whose reasoning the prompt does not show, which
    is no fault: it is not learnt, and the model does not see it either when it is sampled.
    """

    prompt: str = ""
    reply: str = ""
    end: int = -1
    faults: tuple[str, ...] = ()
    detail: str = ""
    forgotten: int = 0
    tokens: int = 0
    loss_tokens: int = 0


class ChatTemplate:
    """A tokenizer's chat template and the ids of the tokens that end a generation."""

    def __init__(self, tokenizer: Any, end_ids: set[int]) -> None:
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        added = tokenizer.added_tokens_decoder.items()
        marks = [token.content for ident, token in added if token.special or ident in end_ids]
        self._marks = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))) or "(?!)")
        # What could be taken for a token of the template's, and the characters that transformers marks such text by.
        tokens = "|".join(re.escape(token.content) for _, token in added)
        self._forged = re.compile(f"{tokens}|{_MARKERS}" if tokens else _MARKERS)
        self._ends: dict[str, int | None] = {}

    @property
    def sha256(self) -> str:
        """Hex sha256 over the template's text."""
        text = str(self._tokenizer.get_chat_template())
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def render(self, messages: Messages) -> Rendered:
        """Renders a row and looks for faults. Raises ConfigError for a template that is no Jinja."""
        from jinja2 import TemplateSyntaxError

        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            return Rendered(faults=("no_reply",), detail=f"{len(messages)} messages")
        try:
            before = self._tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
            full = self._tokenizer.apply_chat_template(messages, tokenize=False)
        except TemplateSyntaxError as e:
            raise ConfigError(f"the chat template cannot be read: line {e.lineno}: {e.message}") from None
        except Exception as e:  # noqa: BLE001  (a template can raise whatever it likes; it is this row's fault)
            return Rendered(faults=("refused",), detail=" ".join(f"{type(e).__name__}: {e}".split()))
        content = messages[-1]["content"]
        forgotten = sum(
            m["role"] == "assistant" and (take_apart(m["content"]).reasoning or "") not in before for m in messages[:-1]
        )
        if not full.startswith(before):
            faults = ("not_continued", *self._miscounted(content, before, full))
            return Rendered(faults=faults, detail=_difference(before, full), forgotten=forgotten)
        rest = full[len(before) :]
        reply = next((text for text in (content, content.strip()) if rest.startswith(text)), None)
        if reply is None:
            faults = self._miscounted(content, before, full) or ("reply_changed",)
            return Rendered(faults=faults, detail=_difference(content, rest), forgotten=forgotten)
        tail = rest[len(reply) :].lstrip()
        end = self._end_of(tail)
        more = bool(self._marks.sub("", tail).strip())
        if end is not None and not more:
            return Rendered(before, reply, end, forgotten=forgotten)
        # What stands there twice tells more than that the end is not where it should be.
        twice = self._miscounted(content, before, full) if more else ()
        faults = twice or ("no_end" if end is None else "text_after_end",)
        return Rendered(faults=faults, detail=f"after the reply {_excerpt(tail)}", forgotten=forgotten)

    def measure(self, rows: Sequence[Messages]) -> list[Rendered]:
        """Renders rows and counts their tokens: the prompt, the reply and the token that ends it, as the trainer does.

        Raises ConfigError for a template that is no Jinja.
        """
        turns = [self.render(messages) for messages in rows]
        sound = [i for i, turn in enumerate(turns) if not turn.faults]
        encoded = self.encode([rows[i][:-1] for i in sound], [turns[i] for i in sound])
        for i, (prompt, reply) in zip(sound, encoded, strict=True):
            tokens = len(prompt) + len(reply) + 1
            if reply:
                turns[i] = replace(turns[i], tokens=tokens, loss_tokens=len(reply) + 1)
            else:
                turns[i] = replace(turns[i], faults=("empty",))
        return turns

    def encode(self, prompts: Sequence[Messages], turns: Sequence[Rendered]) -> Iterator[tuple[list[int], list[int]]]:
        """Token ids of each prompt with its generation prompt, and of its reply, which is learnt with the end token.

        `turns` are the rows as rendered, without faults. The reply is encoded as plain text by itself, as the model
        writes it; control tokens written out in somebody's text are text too.
        """
        for first in range(0, len(prompts), _BATCH):
            conversations, rendered = prompts[first : first + _BATCH], turns[first : first + _BATCH]
            replies = self._encoded([turn.reply for turn in rendered], split_special_tokens=True)
            plain = self._encoded([turn.prompt for turn in rendered])
            for messages, prompt, reply in zip(conversations, plain, replies, strict=True):
                if any(self._forged.search(text) for m in messages for text in m.values()):
                    prompt = self._tokenizer.apply_chat_template(
                        messages, add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
                    )
                yield prompt, reply

    def _encoded(self, texts: list[str], **options: Any) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, **options
        )["input_ids"]
        return ids

    def _end_of(self, tail: str) -> int | None:
        """The first token of what follows a reply if it ends a generation; templates write few different tails."""
        if tail not in self._ends:
            ids = self._tokenizer(tail, add_special_tokens=False)["input_ids"]
            if len(self._ends) >= _BATCH:
                self._ends.clear()
            self._ends[tail] = int(ids[0]) if ids and ids[0] in self._end_ids else None
        return self._ends[tail]

    def _miscounted(self, content: str, before: str, full: str) -> tuple[str, ...]:
        """Whether the last turn holds reasoning or answer less or more often than the reply does, as faults."""
        parts = take_apart(content)
        # The template's own marks are no text of the reply's.
        held, prompt, whole, reasoning, answer = (
            self._marks.sub("\0", text) for text in (content, before, full, parts.reasoning or "", parts.answer or "")
        )
        faults = []
        # The longer one first, and then away with it: it may hold the other.
        for name, part in sorted((("reasoning", reasoning), ("answer", answer)), key=lambda item: -len(item[1])):
            if not part:
                continue
            times, expected = whole.count(part) - prompt.count(part), held.count(part)
            if times != expected:
                faults.append(f"{name}_{'lost' if times < expected else 'twice'}")
            held, prompt, whole = (text.replace(part, "\0") for text in (held, prompt, whole))
        return tuple(fault for fault in FAULTS if fault in faults)


def _difference(wanted: str, found: str) -> str:
    """The texts from shortly before the place where they part."""
    parted = next(
        (i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), min(len(wanted), len(found))
    )
    start = max(parted - 20, 0)
    return f"{_excerpt(wanted[start:])} became {_excerpt(found[start:])}"


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
