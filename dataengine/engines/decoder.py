"""Continuous batching on CPU for one Hugging Face causal model, with shared prefixes computed once.

Why not `model.generate`: it prefills every sample's own copy of a prompt and runs a batch until its longest sample
ends. Here a sample that ends makes room for the next at once, and what prompts have in common (demonstrations, a
system prompt, all of it for samples of one prompt) is run through the model once and copied. Figures:
benchmarks/engines.py.

All running sequences write the same column of one key/value store at each step, whatever their lengths, so a step is
one write and one slice per layer and attention sees plain strided tensors:

    column   0 1 2 3 4 5 6 7 8            start
    row 0    . . p p p p g g [ ]   next   2        p prompt, g generated, . not its own (masked)
    row 1    . . . . p p p g [ ]   ->     4
"""

import inspect
import math
import random
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

# A block of this many tokens is what prompts share or do not share.
_BLOCK = 16
# Tokens whose keys and values are kept for later prompts (46 KB a token at 135M parameters in fp32).
_PREFIX_TOKENS = 8192
_STORE_BYTES = 2 << 30
# Rows times tokens of one prefill: matrix products are near their best speed, and running sequences wait briefly.
_PREFILL_TOKENS = 512
_TOP = 256


class Grammar(Protocol):
    """What a reply must keep to, as far as it has come; see engines/guided.py."""

    def allowed(self) -> torch.Tensor:
        """Which tokens may come next: booleans [vocabulary]."""
        ...

    def take(self, token: int) -> None:
        """That token came."""
        ...


@dataclass
class Request:
    """What is asked: token ids in, at most `max_tokens` out, drawn with the request's own seed, within its grammar."""

    prompt: list[int]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    grammar: Grammar | None = None
    done: Callable[["Reply"], None] = lambda reply: None


@dataclass
class Reply:
    """What came out: token ids, the end token apart, and natural-log probabilities of all before temperature."""

    tokens: list[int] = field(default_factory=list)
    end: int | None = None
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = "length"


@dataclass
class _Row:
    request: Request
    rng: random.Random
    start: int
    last: int
    reply: Reply = field(default_factory=Reply)

    def length(self, column: int) -> int:
        return column - self.start


class _StoreLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer of the store, seen by the model as its cache: writes one column, shows the window."""

    def __init__(self, store: "_Store", index: int) -> None:
        super().__init__()
        # Weak, or a store that was replaced by a larger one would stay until the garbage collector finds the circle.
        self._store = weakref.proxy(store)
        self._index = index

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        s, rows = self._store, key_states.shape[0]
        s.keys[self._index][:rows, :, s.column] = key_states[:, :, 0]
        s.values[self._index][:rows, :, s.column] = value_states[:, :, 0]
        window = slice(s.low, s.column + 1)
        return s.keys[self._index][:rows, :, window], s.values[self._index][:rows, :, window]


class _Store:
    """Keys and values of all running sequences: per layer [rows, kv heads, columns, head size]."""

    def __init__(self, layers: int, rows: int, heads: int, columns: int, size: int, device: torch.device) -> None:
        shape = (rows, heads, columns, size)
        self.keys = [torch.zeros(shape, dtype=torch.float32, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=torch.float32, device=device) for _ in range(layers)]
        self.rows, self.columns = rows, columns
        self.column = 0  # written next
        self.low = 0  # the first column that any running row uses
        self.cache = Cache(layers=[_StoreLayer(self, i) for i in range(layers)])

    def put(self, row: int, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
        """Copies a prompt ([kv heads, length, size] per layer) so that it ends at the current column."""
        span = slice(self.column - keys[0].shape[1], self.column)
        for layer, (k, v) in enumerate(zip(keys, values, strict=True)):
            self.keys[layer][row, :, span] = k
            self.values[layer][row, :, span] = v

    def move_row(self, source: int, target: int) -> None:
        window = slice(self.low, self.column)
        for tensor in (*self.keys, *self.values):
            tensor[target, :, window] = tensor[source, :, window]

    def shift(self, rows: int, by: int) -> None:
        """Moves the windows of the first `rows` rows by that many columns (negative: to the left)."""
        window, moved = slice(self.low, self.column), slice(self.low + by, self.column + by)
        for tensor in (*self.keys, *self.values):
            tensor[:rows, :, moved] = tensor[:rows, :, window].clone()
        self.low += by
        self.column += by


def load_for_decoding(folder: str | Path) -> Any:
    """The model in a folder, as a Decoder takes it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()


def cache_keyword(body: Any) -> str:
    """What the keys and values before are called, which differs between models and versions of transformers."""
    return "cache" if "cache" in inspect.signature(body.forward).parameters else "past_key_values"


class Decoder:
    """A model that answers many requests at once. Not thread-safe: one thread submits and steps."""

    def __init__(self, model: Any, *, slots: int, stop: set[int]) -> None:
        """`model` is a Hugging Face causal model in evaluation mode, whose weights do not change meanwhile."""
        self.model = model
        self._device = model.device
        self._cache_keyword = cache_keyword(self.model.model)
        config = self.model.config
        self._layers: int = config.num_hidden_layers
        self._heads: int = config.num_key_value_heads
        self._size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.max_length: int = config.max_position_embeddings
        self._slots = slots
        self._stop = stop
        self._waiting: deque[Request] = deque()
        self._rows: list[_Row] = []
        self._store: _Store | None = None
        self._prefixes: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()
        self.prefilled_tokens = 0
        self.shared_tokens = 0
        self.generated_tokens = 0

    def submit(self, request: Request) -> None:
        """Queues a request. Raises ValueError when it cannot fit the model's context."""
        if not request.prompt:
            raise ValueError("the prompt is empty")
        if len(request.prompt) + request.max_tokens > self.max_length:
            raise ValueError(
                f"{len(request.prompt)} prompt tokens and max_tokens {request.max_tokens} exceed the model's "
                f"{self.max_length}"
            )
        self._waiting.append(request)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._rows or self._waiting)

    @torch.inference_mode()
    def step(self) -> None:
        """Lets waiting requests in where there is room, then makes one token for every running one."""
        self._admit()
        store = self._store
        if not self._rows or store is None:
            return
        if store.column == store.columns:
            self._shift(-store.low)
        tokens = torch.tensor([[row.last] for row in self._rows], device=self._device)
        starts = torch.tensor([row.start for row in self._rows], device=self._device)
        positions = (store.column - starts)[:, None]
        columns = torch.arange(store.low, store.column + 1, device=self._device)
        mask = torch.zeros(len(self._rows), 1, 1, len(columns), device=self._device)
        mask.masked_fill_((columns[None, :] < starts[:, None])[:, None, None, :], -math.inf)
        hidden = self._forward(store.cache, input_ids=tokens, position_ids=positions, attention_mask=mask)
        store.column += 1
        self._take(self._rows, self.model.lm_head(hidden[:, -1]))
        self._retire()

    def _forward(self, cache: Cache, **inputs: torch.Tensor) -> torch.Tensor:
        """Last hidden states [rows, tokens, width]; keys and values are read from and added to `cache`."""
        outputs = self.model.model(**inputs, **{self._cache_keyword: cache}, use_cache=True)
        hidden: torch.Tensor = outputs.last_hidden_state
        return hidden

    # -- letting requests in

    def _admit(self) -> None:
        room = self._slots if self._store is None else self._store.rows
        free = room - len(self._rows)
        # A prefill of one row costs nearly as much as one of several: wait for an eighth of the rows to be free.
        while self._waiting and free > 0 and (not self._rows or free >= min(len(self._waiting), max(1, room // 8))):
            needed = max(len(r.prompt) + r.max_tokens for r in list(self._waiting)[:free])
            if self._store is None or needed > self._store.columns:
                if self._rows:
                    return  # too long for the store: when the running ones are through, a larger one is made
                room = self._allocate(needed)
            batch = [self._waiting.popleft() for _ in range(min(room - len(self._rows), len(self._waiting)))]
            self._prefill(batch)
            self._retire()
            free = room - len(self._rows)

    def _allocate(self, needed: int) -> int:
        # A quarter more columns than the longest needs: windows slide that far before everything is moved back.
        columns = min(_round_up(needed + needed // 4, 128), self.max_length + 128)
        per_row = columns * self._layers * self._heads * self._size * 2 * 4
        rows = max(1, min(self._slots, _STORE_BYTES // per_row))
        self._store = None  # free the old one first
        self._store = _Store(self._layers, rows, self._heads, columns, self._size, self._device)
        return rows

    def _prefill(self, batch: list[Request]) -> None:
        """Runs the prompts of `batch` and starts a row for each; equal prompts are run once."""
        todo: dict[tuple[int, ...], list[Request]] = {}
        for request in batch:
            todo.setdefault(tuple(request.prompt), []).append(request)
        while todo:
            group, shared = self._next_group(list(todo))
            last_hidden, caches = self._run(group, shared)
            logits = self.model.lm_head(last_hidden)
            rows: list[_Row] = []
            for prompt, keys_values in zip(group, caches, strict=True):
                rows += [self._start_row(request, *keys_values) for request in todo.pop(prompt)]
            counts = [sum(1 for r in rows if tuple(r.request.prompt) == p) for p in group]
            self._take(rows, logits.repeat_interleave(torch.tensor(counts, device=self._device), dim=0))

    def _next_group(self, prompts: list[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], int]:
        """Prompts to run together, and how many of their first tokens are known already.

        The first prompt decides. Others join when they know exactly the same prefix, unless they would also share its
        next block: then it goes alone, and they find that block ready in the next round.
        """
        head = prompts[0]
        known = self._known(head)
        group, tokens = [head], len(head) - known
        if any(self._common(head, p) >= known + _BLOCK for p in prompts[1:]):
            return group, known
        for prompt in prompts[1:]:
            if prompt[:known] == head[:known] and self._known(prompt) == known:
                if tokens + len(prompt) - known > _PREFILL_TOKENS:
                    break
                group.append(prompt)
                tokens += len(prompt) - known
        return group, known

    @staticmethod
    def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            if x != y:
                return i
        return min(len(a), len(b))

    def _known(self, prompt: tuple[int, ...]) -> int:
        """How many of the prompt's first tokens have stored blocks; at least one is always left to run."""
        known = 0
        while known + _BLOCK < len(prompt) and prompt[: known + _BLOCK] in self._prefixes:
            known += _BLOCK
        return known

    def _run(
        self, group: list[tuple[int, ...]], known: int
    ) -> tuple[torch.Tensor, list[tuple[list[torch.Tensor], list[torch.Tensor]]]]:
        """Runs what is not known of each prompt; last hidden states [prompts, width], keys and values of each."""
        cache = DynamicCache()
        if known:
            blocks = []
            for end in range(_BLOCK, known + 1, _BLOCK):
                self._prefixes.move_to_end(group[0][:end])
                blocks.append(self._prefixes[group[0][:end]])
            prefix = torch.cat(blocks, dim=3)  # [layers, 2, heads, known, size]
            for layer in range(self._layers):
                kv = prefix[layer].unsqueeze(1).expand(-1, len(group), -1, -1, -1)
                cache.update(kv[0], kv[1], layer)
        longest = max(len(p) for p in group)
        ids = torch.tensor([[*p[known:], *[0] * (longest - len(p))] for p in group], device=self._device)
        positions = torch.arange(known, longest, device=self._device)[None, :].expand(len(group), -1)
        hidden = self._forward(cache, input_ids=ids, position_ids=positions)
        self.prefilled_tokens += sum(len(p) - known for p in group)
        self.shared_tokens += known * len(group)
        last = torch.stack([hidden[i, len(p) - known - 1] for i, p in enumerate(group)])
        caches = []
        for i, prompt in enumerate(group):
            keys = [layer.keys[i, :, : len(prompt)] for layer in cache.layers]
            values = [layer.values[i, :, : len(prompt)] for layer in cache.layers]
            caches.append((keys, values))
            self._remember(prompt, known, keys, values)
        return last, caches

    def _remember(
        self, prompt: tuple[int, ...], known: int, keys: list[torch.Tensor], values: list[torch.Tensor]
    ) -> None:
        for end in range(known + _BLOCK, len(prompt) + 1, _BLOCK):
            span = slice(end - _BLOCK, end)
            both = [torch.stack((k[:, span], v[:, span])) for k, v in zip(keys, values, strict=True)]
            self._prefixes[prompt[:end]] = torch.stack(both)
        while len(self._prefixes) * _BLOCK > _PREFIX_TOKENS:
            self._prefixes.popitem(last=False)

    def _start_row(self, request: Request, keys: list[torch.Tensor], values: list[torch.Tensor]) -> _Row:
        store = self._store
        assert store is not None
        length = len(request.prompt)
        if not self._rows:
            store.column = store.low = length
        elif store.column < length:
            self._shift(length - store.column)
        elif store.column == store.columns:
            self._shift(-store.low)
        store.put(len(self._rows), keys, values)
        row = _Row(request, random.Random(request.seed), store.column - length, 0)
        self._rows.append(row)
        store.low = min(store.low, row.start)
        return row

    def _shift(self, by: int) -> None:
        assert self._store is not None
        self._store.shift(len(self._rows), by)
        for row in self._rows:
            row.start += by

    # -- tokens out

    def _take(self, rows: Sequence[_Row], logits: torch.Tensor) -> None:
        """Draws the next token of each row from logits [rows, vocabulary]."""
        tokens, logprobs = draw(logits, [r.request for r in rows], [r.rng for r in rows])
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            row.last = token
            if row.request.grammar is not None:
                row.request.grammar.take(token)
            row.reply.logprobs.append(logprob)
            self.generated_tokens += 1
            if token in self._stop:
                row.reply.finish_reason = "stop"
                row.reply.end = token
            else:
                row.reply.tokens.append(token)

    def _retire(self) -> None:
        """Hands out finished replies and closes the gaps they leave."""
        store = self._store
        assert store is not None
        i = 0
        while i < len(self._rows):
            row = self._rows[i]
            if row.reply.finish_reason != "stop" and len(row.reply.tokens) < row.request.max_tokens:
                i += 1
                continue
            last = len(self._rows) - 1
            if i != last:
                store.move_row(last, i)
                self._rows[i] = self._rows[last]
            self._rows.pop()
            row.request.done(row.reply)
        store.low = min((r.start for r in self._rows), default=store.column)


def draw(
    logits: torch.Tensor, requests: Sequence[Request], rngs: Sequence[random.Random]
) -> tuple[list[int], list[float]]:
    """One token per row of logits [rows, vocabulary], with its log-probability (nats, before temperature and grammar).

    Grammar, temperature, then the smallest set of tokens with probability of at least top-p; temperature 0 takes the
    likeliest. Each row uses its own generator, so that a reply does not depend on what else is running.
    """
    device = logits.device
    temperature = torch.tensor([max(r.temperature, 1e-4) for r in requests], device=device)[:, None]
    scaled = logits / temperature
    for i, request in enumerate(requests):
        if request.grammar is not None:
            scaled[i].masked_fill_(~request.grammar.allowed().to(device), -math.inf)
    norm = scaled.logsumexp(-1, keepdim=True)
    top, index = scaled.topk(min(_TOP, scaled.shape[-1]), dim=-1)
    cumulative = (top - norm).exp_().cumsum(-1)
    u = torch.tensor([rng.random() for rng in rngs], dtype=torch.float64, device=device)
    top_p = torch.tensor([r.top_p for r in requests], dtype=torch.float64, device=device)
    chosen = index.gather(-1, _place(cumulative, u, top_p))[:, 0]
    # What is drawn falls nearly always among the likeliest few hundred; else it is looked for among all.
    beyond = cumulative[:, -1] < torch.where(top_p == 1, u, top_p)
    if (nucleus := (beyond & (top_p < 1)).nonzero()[:, 0]).numel():
        order, ids = scaled[nucleus].sort(descending=True)
        sums = (order - norm[nucleus]).exp_().cumsum(-1)
        chosen[nucleus] = ids.gather(-1, _place(sums, u[nucleus], top_p[nucleus]))[:, 0]
    if (others := (beyond & (top_p == 1)).nonzero()[:, 0]).numel():
        # All but the likeliest, in the order of their ids: nothing need be sorted.
        rest = (scaled[others] - norm[others]).exp_().scatter_(-1, index[others], 0.0).cumsum(-1)
        left = (u[others] - cumulative[others, -1]).float()
        # Rounding must not lead beyond the last token that can come.
        left = torch.minimum(left, torch.nextafter(rest[:, -1], torch.zeros((), device=device)))
        chosen[others] = torch.searchsorted(rest, left[:, None], right=True)[:, 0]
    greedy = torch.tensor([r.temperature == 0 for r in requests], device=device)
    chosen = torch.where(greedy, index[:, 0], chosen)
    logprobs = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
    return chosen.tolist(), logprobs.tolist()


def _place(sums: torch.Tensor, u: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Which place [rows, 1] of the running sums [rows, tokens] of probabilities u, in [0, 1), falls on.

    Tokens up to and including the one that reaches top-p; the draw is over their mass.
    """
    inside = torch.searchsorted(sums, top_p.float()[:, None]).clamp_(max=sums.shape[1] - 1)
    mass = torch.where(top_p == 1, 1.0, sums.gather(-1, inside)[:, 0].double())
    place = torch.searchsorted(sums, (u * mass).float()[:, None], right=True)
    return torch.minimum(place, inside)


def _round_up(n: int, to: int) -> int:
    return -(-n // to) * to
