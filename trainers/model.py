"""The model in training: how it is loaded, and how it gives the loss of a micro-batch."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from schemas.errors import ConfigError
from trainers.objective import weighted_nll


class CompletionLoss(nn.Module):
    """The weighted sum of the labelled tokens' losses; logits over the vocabulary are worked out for those only.

    A module of its own, so that data-parallel wrappers see one forward pass. No attention mask: padding is on the
    right, where a causal model's labelled tokens do not look.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """The sum in nats, a scalar; see MicroBatch for the arguments and `weighted_nll` for the formula."""
        return weighted_nll(self.logits(input_ids, positions), targets, weights)

    def logits(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits (positions, vocabulary) at the given indices into the flattened `input_ids`."""
        hidden = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        picked = hidden.flatten(0, 1).index_select(0, positions)
        logits: torch.Tensor = self.model.get_output_embeddings()(picked)
        return logits


def load_model(folder: Path, weights: Path | None = None) -> tuple[Any, Any]:
    """The model (fp32, in training mode) and tokenizer in a folder; `weights` is another folder to take those from.

    Raises ConfigError for what cannot be trained.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # Progress bars and advice only: what matters of the loading report is looked at below.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = AutoModelForCausalLM.from_pretrained(
            weights or folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as e:
        raise ConfigError(f"model: {folder} cannot be loaded: {' '.join(str(e).split())}") from None
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(
            f"model: {folder} lacks weights, e.g. {missing[0]}; is its config.json that of another model?"
        )
    if tokenizer.chat_template is None:
        raise ConfigError(f"model: {folder} has no chat template; put a chat_template.jinja there")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ConfigError(f"model: {folder}: the tokenizer has more tokens than the model; they do not belong together")
    # Some architectures scale or cap the logits after the output layer, which CompletionLoss does not know.
    ids = torch.arange(8).unsqueeze(0) % len(tokenizer)
    with torch.no_grad():
        whole = model.eval()(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        selected = CompletionLoss(model).logits(ids, torch.arange(8))
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
