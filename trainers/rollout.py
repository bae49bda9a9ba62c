"""Sampling from the weights in training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataengine.engines.decoder import Decoder, Reply, Request
from dataengine.generate import Asking, Wanted
from schemas.errors import ConfigError
from schemas.keys import seed_of


@dataclass(frozen=True)
class Sampled:
    """One reply as it was sampled: `ids` are prompt, reply and the token that ended it, unless the budget did."""

    wanted: Wanted
    ids: "np.ndarray[Any, np.dtype[np.int32]]"
    prompt: int
    text: str
    finish_reason: str
    logprob_sum: float | None

    @property
    def tokens(self) -> int:
        """Tokens of the reply, its end included."""
        return len(self.ids) - self.prompt


def sample(
    model: Any,
    tokenizer: Any,
    wanted: Sequence[Wanted],
    asking: Asking,
    ends: set[int],
    slots: int,
    finished: Callable[[int], None] = lambda tokens: None,
) -> list[Sampled]:
    """The replies to `wanted`, in that order, drawn from the model as it is now; `finished` hears of each one's tokens.

    Each is drawn with the seed of its trajectory, so the same weights give the same replies. Raises ConfigError when a
    prompt and its budget do not fit the model's context.
    """
    training = model.training
    decoder = Decoder(model.eval(), slots=slots, stop=ends)
    replies: dict[int, Reply] = {}
    prompts: dict[str, list[int]] = {}

    def arrived(place: int) -> Callable[[Reply], None]:
        def take(reply: Reply) -> None:
            replies[place] = reply
            finished(len(reply.logprobs))

        return take

    for place, one in enumerate(wanted):
        if one.rendered_key not in prompts:
            prompts[one.rendered_key] = prompt_ids(tokenizer, asking.render(one.prompt), bool(asking.prefill))
        drawn = asking.drawn(one.sample_index)
        request = Request(
            prompts[one.rendered_key],
            asking.max_tokens,
            temperature=drawn["temperature"],
            top_p=drawn["top_p"],
            seed=seed_of(one.trajectory_id),
            done=arrived(place),
        )
        try:
            decoder.submit(request)
        except ValueError as e:
            raise ConfigError(f"prompt {one.prompt.prompt_id}: {e}; lower max_tokens") from None
    while decoder.busy:
        decoder.step()
    model.train(training)
    return [
        _sampled(tokenizer, one, prompts[one.rendered_key], replies[i], asking.prefill) for i, one in enumerate(wanted)
    ]


def prompt_ids(tokenizer: Any, messages: list[dict[str, str]], going_on: bool) -> list[int]:
    """A conversation by the chat template, open for a reply, or, `going_on`, for more of the one it ends with."""
    ids = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=not going_on,
        continue_final_message=going_on,
        return_dict=False,
        sanitize_control_tokens=True,
    )
    return list(ids)


def _sampled(tokenizer: Any, wanted: Wanted, prompt: list[int], reply: Reply, prefill: str) -> Sampled:
    end = [] if reply.end is None else [reply.end]
    return Sampled(
        wanted=wanted,
        ids=np.asarray([*prompt, *reply.tokens, *end], dtype=np.int32),
        prompt=len(prompt),
        text=prefill + tokenizer.decode(reply.tokens, skip_special_tokens=True),
        finish_reason=reply.finish_reason,
        logprob_sum=float(np.sum(reply.logprobs)),
    )
