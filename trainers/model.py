"""The model in training: how it is loaded, and how it gives the log-probabilities of tokens."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional

from dataengine.engines.decoder import cache_keyword
from schemas.errors import ConfigError

# As fp32 256 MiB. A plain backward pass holds three times as much for a while, the one in pieces once.
_LOGITS_AT_ONCE = 1 << 26


def token_logprobs(
    hidden: torch.Tensor, output_layer: Any, targets: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """The log-probability of each target, (tokens,) in nats, computed in fp32 (float64 stays float64).

        log softmax(logits_t / temperature)[target_t],   logits = hidden W^T + b

    `hidden` is (tokens, width), `targets` (tokens,) int64; W and b are the output layer's. More logits than 2^26 are
    worked out piece by piece, and again in the backward pass, so that memory is that of one piece: the same numbers and
    gradients, to rounding.

    >>> layer = nn.Linear(1, 4, bias=False)
    >>> hidden = torch.zeros(2, 1)  # every logit is 0: four equally likely tokens, ln 4 = 1.386 nats each
    >>> token_logprobs(hidden, layer, torch.tensor([0, 3])).detach()
    tensor([-1.3863, -1.3863])
    """
    weight, bias = output_layer.weight, output_layer.bias
    tokens = max(1, _LOGITS_AT_ONCE // weight.shape[0])
    if len(targets) > tokens:
        if torch.is_autocast_enabled(hidden.device.type):
            low = torch.get_autocast_dtype(hidden.device.type)
            hidden, weight, bias = hidden.to(low), weight.to(low), bias if bias is None else bias.to(low)
        pieces: torch.Tensor = _LogProbsInPieces.apply(hidden, weight, bias, targets, temperature, tokens)  # type: ignore[no-untyped-call]
        return pieces
    logits = _in_fp32(output_layer(hidden))
    if temperature != 1.0:
        logits = logits / temperature
    return -functional.cross_entropy(logits, targets, reduction="none")


class _LogProbsInPieces(torch.autograd.Function):
    """`token_logprobs` of so many tokens at a time.

    With z the logits, T the temperature and g the gradient that comes in,

        logprob_t = z_t[target_t] / T - log sum exp(z_t / T)
        d logprob_t / d z_t = (onehot(target_t) - softmax(z_t / T)) / T
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        tokens: int,
    ) -> torch.Tensor:
        logprobs, normalisers = [], []
        for part in _pieces(len(targets), tokens):
            logits = _logits(hidden[part], weight, bias, temperature)
            normaliser = logits.logsumexp(dim=1)
            logprobs.append(logits.gather(1, targets[part, None])[:, 0] - normaliser)
            normalisers.append(normaliser)
        ctx.save_for_backward(hidden, weight, bias, targets, torch.cat(normalisers))
        ctx.temperature, ctx.tokens = temperature, tokens
        return torch.cat(logprobs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        hidden, weight, bias, targets, normalisers = ctx.saved_tensors
        for_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # Pieces are added up in fp32, whatever the matrix products are worked out in.
        for_weight = _in_fp32(torch.zeros_like(weight)) if ctx.needs_input_grad[1] else None
        for_bias = _in_fp32(torch.zeros_like(bias)) if ctx.needs_input_grad[2] else None
        for part in _pieces(len(targets), ctx.tokens):
            logits = _logits(hidden[part], weight, bias, ctx.temperature)
            softmax = logits.sub_(normalisers[part, None]).exp_()
            scale = gradient[part, None] / ctx.temperature
            for_logits = softmax.mul_(-scale).scatter_add_(1, targets[part, None], scale)
            if for_bias is not None:
                for_bias += for_logits.sum(dim=0)
            for_logits = for_logits.to(weight.dtype)
            if for_hidden is not None:
                torch.mm(for_logits, weight, out=for_hidden[part])
            if for_weight is not None:
                if for_weight.dtype == weight.dtype:
                    for_weight.addmm_(for_logits.t(), hidden[part])
                else:
                    for_weight += for_logits.t() @ hidden[part]
        return for_hidden, for_weight, for_bias, None, None, None


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, temperature: float) -> torch.Tensor:
    logits = _in_fp32(functional.linear(hidden, weight, bias))
    return logits if temperature == 1.0 else logits.div_(temperature)


def _pieces(length: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, length, size)]


def _in_fp32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class Prefix(NamedTuple):
    """Prompts that the rows of a batch go on from, each once, however many rows do.

    `input_ids` (prompts, length) are padded on the right, `lengths` (prompts,) count their tokens, and `of` (rows,)
    says which prompt a row goes on from.
    """

    input_ids: torch.Tensor
    lengths: torch.Tensor
    of: torch.Tensor


class TokenLogProbs(nn.Module):
    """The log-probabilities of given tokens; logits over the vocabulary are worked out for those only.

    A module of its own, so that data-parallel wrappers see one forward pass. No attention mask: padding is on the
    right, where a causal model's labelled tokens do not look.
    """

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self._cache_keyword = cache_keyword(model.base_model)
        # Where FSDP looks for the layers that are sharded one by one.
        self._no_split_modules = getattr(model, "_no_split_modules", None)

    def forward(
        self, input_ids: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor, prefix: Prefix | None = None
    ) -> torch.Tensor:
        """Nats, (tokens,); see MicroBatch for the arguments and `token_logprobs` for the formula.

        With a `prefix`, `input_ids` are what comes after it, and `positions` indices into rows that are longer by one:
        the first is that of their prompt's last token.
        """
        hidden = self.hidden(input_ids, positions) if prefix is None else self._after(prefix, input_ids, positions)
        return token_logprobs(hidden, self.model.get_output_embeddings(), targets, self.temperature)

    def hidden(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """What the output layer reads, (positions, width), at the given indices into the flattened `input_ids`."""
        hidden: torch.Tensor = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        return hidden.flatten(0, 1).index_select(0, positions)

    def _after(self, prefix: Prefix, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """As `hidden`, of rows that go on from prompts, whose keys and values are worked out once and shared."""
        body = self.model.base_model
        read = body(input_ids=prefix.input_ids, use_cache=True)
        cache, of = read[self._cache_keyword], prefix.of
        last = read.last_hidden_state[torch.arange(len(prefix.lengths), device=of.device), prefix.lengths - 1][of]
        hidden = last[:, None]
        if input_ids.shape[1]:
            for layer in cache.layers:
                layer.keys, layer.values = layer.keys.index_select(0, of), layer.values.index_select(0, of)
            before = prefix.lengths[of][:, None]
            mask = torch.arange(prefix.input_ids.shape[1], device=of.device)[None] < before
            after = body(
                input_ids=input_ids,
                position_ids=before + torch.arange(input_ids.shape[1], device=of.device)[None],
                # Needed where prompts are padded; without one attention is the quick, causal one.
                attention_mask=None
                if mask.all()
                else torch.cat([mask, torch.ones_like(input_ids, dtype=torch.bool)], 1),
                **{self._cache_keyword: cache},
                use_cache=True,
            ).last_hidden_state
            hidden = torch.cat([hidden, after], dim=1)
        selected: torch.Tensor = hidden.flatten(0, 1).index_select(0, positions)
        return selected


def load_model(
    folder: Path, weights: Path | None = None, *, device: Any = "cpu", attention: str = "sdpa"
) -> tuple[Any, Any]:
    """The model (fp32, in training mode) and tokenizer in a folder; `weights` is another folder to take those from.

    `attention` is one of transformers' implementations. Raises ConfigError for what cannot be trained.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # Progress bars and advice only: what matters of the loading report is looked at below.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = AutoModelForCausalLM.from_pretrained(
            weights or folder,
            dtype=torch.float32,
            attn_implementation=attention,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as e:
        remedy = f"; remove {weights.parent} to start again" if weights else ""
        raise ConfigError(f"model: {weights or folder} cannot be loaded: {' '.join(str(e).split())}{remedy}") from None
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(
            f"model: {folder} lacks weights, e.g. {missing[0]}; is its config.json that of another model?"
        )
    if tokenizer.chat_template is None:
        raise ConfigError(f"model: {folder} has no chat template; put a chat_template.jinja there")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ConfigError(f"model: {folder}: the tokenizer has more tokens than the model; they do not belong together")
    # Some architectures scale or cap the logits after the output layer, which `token_logprobs` does not know.
    model.to(device)
    ids = torch.arange(8, device=device).unsqueeze(0) % len(tokenizer)
    with torch.no_grad():
        whole = model.eval()(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        selected = model.get_output_embeddings()(TokenLogProbs(model).hidden(ids, torch.arange(8, device=device)))
    if not torch.allclose(whole, selected, rtol=1e-3, atol=1e-3):
        raise ConfigError(
            f"model: {folder}: {model.config.model_type} changes logits after the output layer; not supported"
        )
    return model.train(), tokenizer


def end_ids(model: Any, tokenizer: Any) -> set[int]:
    """The ids of the tokens that end a generation, by the tokenizer and by generation_config.json."""
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {i for i in [tokenizer.eos_token_id, *ends] if i is not None}
