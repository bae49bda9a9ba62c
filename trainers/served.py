"""Rollouts from a vLLM server: it is handed the weights in training, proves that it has them, and is asked."""

import asyncio
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataengine.engines.client import ChatClient, ChatReply, Failure, TokensRequest
from dataengine.engines.fleet import Fleet
from dataengine.engines.keeping import Keeper
from dataengine.engines.weights import Model
from dataengine.generate import Asking, Wanted
from dataengine.policy import Policy
from dataengine.progress import Progress
from schemas.errors import EngineError
from schemas.keys import seed_of
from schemas.recipe import EndpointEngine, VllmEngine
from schemas.records import Prompt
from trainers.checkpoint import Plan
from trainers.data import Example
from trainers.lora import save_model
from trainers.minibatch import Trained
from trainers.rollout import Sampled, prompt_ids
from trainers.training import say

# Replies of a rollout whose log-probabilities are compared, and those of them that prove the next hand-over.
_COMPARED, _PROVING = 64, 16
# Tokens of a reply that are asked for as a proof: a start has the same log-probabilities as in the whole.
_PROVING_TOKENS = 256
# A server that shows less than half of a change of ours has not got the weights; how sure that has to be, in standard
# errors. Errors of neighbouring tokens are not independent, so it has to be surer than the number says.
_SURE = 5.0
# How much farther off than when they were sampled known replies may be: so many times, and nats beside.
_FARTHER, _BESIDE = 3.0, 0.01

LogProbs = Callable[[Sequence[Trained]], list[torch.Tensor]]


class Served:
    """A training's vLLM server. `facts` are figures of the last rollout that it gave, by their names in the log."""

    def __init__(
        self,
        engine: VllmEngine | EndpointEngine,
        plan: Plan,
        model: Any,
        tokenizer: Any,
        ends: set[int],
        prompts: Sequence[Prompt],
        logprobs: LogProbs,
        tolerance: float,
    ) -> None:
        """`model` is the one in training, `logprobs` gives its log-probabilities of replies at temperature 1.

        `prompts` are some of the training's; `tolerance` is in nats a token.
        """
        self.facts: dict[str, float] = {}
        self._engine = engine
        self._partial = plan.partial.absolute()
        self._log = self._partial / "vllm.log"
        self._name = plan.config.name
        self._model = model
        self._tokenizer = tokenizer
        self._ends = ends
        self._prompts = prompts[:_PROVING]
        self._logprobs = logprobs
        self._tolerance = tolerance
        self._keeper = Keeper()
        self._known: list[Trained] = []
        self._limit = tolerance
        self._told_of_text = False

    def close(self) -> None:
        """Stops the server, if it is one of ours."""
        self._keeper.close()

    def sample(self, step: int, wanted: Sequence[Wanted], asking: Asking, progress: Progress) -> list[Sampled]:
        """The replies to `wanted`, in that order, drawn from the model as it is now, after `step` optimizer steps.

        Raises EngineError, in one line, when the server fails, or does not have the weights after all.
        """
        began = time.perf_counter()
        self.facts = {}
        folder = self._write(step)
        self._known = self._known or self._first_proof(asking)
        now = self._logprobs(self._known)
        return asyncio.run(self._converse(folder, now, wanted, asking, progress, began))

    async def _converse(
        self,
        folder: Path,
        now: list[torch.Tensor],
        wanted: Sequence[Wanted],
        asking: Asking,
        progress: Progress,
        began: float,
    ) -> list[Sampled]:
        async with self._policy(folder).fleet(self._log) as fleet:
            await asyncio.gather(*(self._hand_over(client, folder) for client in fleet.clients))
            await self._prove(fleet, now)
            self.facts["seconds/handover"] = time.perf_counter() - began
            rendered: dict[str, list[int]] = {}
            for one in wanted:
                if one.rendered_key not in rendered:
                    messages = asking.render(one.prompt)
                    rendered[one.rendered_key] = prompt_ids(self._tokenizer, messages, bool(asking.prefill))
            asked = [self._ask(fleet, one, rendered[one.rendered_key], asking, progress) for one in wanted]
            replies = await asyncio.gather(*asked)
            # One that was restarted meanwhile has gone on with the weights it was started with.
            await self._prove(fleet, now)
        sampled = [
            self._sampled(one, rendered[one.rendered_key], reply, asking.prefill)
            for one, reply in zip(wanted, replies, strict=True)
        ]
        if asking.stage == "rl_rollout":
            self._compare(sampled, [reply.logprobs for reply in replies])
        return sampled

    # -- the hand-over

    def _write(self, step: int) -> Path:
        """The weights in Hugging Face format, merged where there are adapters; those of earlier steps go."""
        folder = self._partial / f"weights-{step:08d}"
        making = self._partial / "weights.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        save_model(self._model, making, "", merge=True)
        self._tokenizer.save_pretrained(making)
        if isinstance(self._engine, VllmEngine) and self._model.device.type == "cpu":
            _untie(self._model, making)
        for old in self._partial.glob("weights-*"):
            shutil.rmtree(old)
        making.rename(folder)
        return folder

    def _policy(self, folder: Path) -> Policy:
        if isinstance(self._engine, EndpointEngine):
            return Policy.of(self._engine)
        # Orders are taken in this mode only. Under torchrun, vLLM's processes would look for each other at its agent.
        env = {"VLLM_SERVER_DEV_MODE": "1", "TORCHELASTIC_USE_AGENT_STORE": "False", **self._engine.env}
        # Always the same name and engine, so that the keeper keeps one server, and starts another if it has ended.
        engine = self._engine.model_copy(update={"env": env})
        return Policy(self._name, engine, Model(folder, self._name), self._keeper)

    async def _hand_over(self, client: ChatClient, folder: Path) -> None:
        try:
            order = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            await client.tell("collective_rpc", order)
            # What it has computed of prompts is of other weights.
            told = await client.tell("reset_prefix_cache", {})
        except Failure as e:
            if e.everybody:
                raise EngineError(
                    f"{client.url}: takes no weights ({e}); start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment"
                ) from None
            raise EngineError(
                f"{client.url}: did not load {folder} ({e}); it has to see that folder and serve that model"
            ) from None
        if isinstance(told, dict) and told.get("success") is False:
            raise EngineError(f"{client.url}: goes on with other requests; a training needs its server for itself")

    # -- the proof

    def _first_proof(self, asking: Asking) -> list[Trained]:
        """Prompts, all of their tokens but the first, when nothing was sampled yet."""
        ids = [prompt_ids(self._tokenizer, asking.render(p), bool(asking.prefill)) for p in self._prompts]
        return [_known(str(i), np.asarray(one, dtype=np.int32), 1) for i, one in enumerate(ids)]

    async def _prove(self, fleet: Fleet, now: list[torch.Tensor]) -> None:
        """Raises EngineError for a server whose log-probabilities are not those of the weights, or are of the old."""
        ours = torch.cat(now).double()
        for client in fleet.clients:
            theirs = torch.cat(await self._of(client, fleet)).double()
            before = [one.old for one in self._known if one.old is not None]
            if before and _stale(theirs, torch.cat(before).double(), ours):
                raise EngineError(
                    f"{client.url}: its weights are still those of the rollout before, although it said that it loaded "
                    "the new ones; restart the server, or take another version of vLLM"
                )
            gap = (theirs - ours).abs().mean().item()
            if not gap <= self._limit:
                raise EngineError(
                    f"{client.url}: its weights are not those handed over: log-probabilities of known tokens are "
                    f"{gap:.3g} nats off, and may be {self._limit:.3g}; restart the server, and see that it serves "
                    "this model, in a precision near the training's, or raise max_logprob_gap"
                )

    async def _of(self, client: ChatClient, like: Fleet) -> list[torch.Tensor]:
        """What one server says of the known replies, tried as often as the fleet tries."""
        alone = Fleet([client], like.most, like.start, like.retries, like.backoff, like.patience)
        try:
            replies = await asyncio.gather(*(alone.complete(self._question(one)) for one in self._known))
        finally:
            await alone.close()
        told = []
        for one, reply in zip(self._known, replies, strict=True):
            if reply.error is not None:
                raise self._failed(client.url, reply.error)
            if reply.prompt_logprobs is None:
                raise EngineError(f"{client.url}: gives no prompt_logprobs, so nothing proves its weights; is it vLLM?")
            told.append(torch.tensor(reply.prompt_logprobs[one.example.prompt - 1 :]))
        return told

    def _question(self, known: Trained) -> TokensRequest:
        return TokensRequest(known.example.ids.tolist(), 1, 1.0, 1.0, None, sorted(self._ends), of_prompt=True)

    # -- replies

    async def _ask(
        self, fleet: Fleet, wanted: Wanted, prompt: list[int], asking: Asking, progress: Progress
    ) -> ChatReply:
        drawn = asking.drawn(wanted.sample_index)
        request = TokensRequest(
            prompt,
            asking.max_tokens,
            temperature=drawn["temperature"],
            top_p=drawn["top_p"],
            seed=seed_of(wanted.trajectory_id) if self._engine.send_seed else None,
            stop=sorted(self._ends),
            group=wanted.rendered_key,
        )
        progress.started()
        reply = await fleet.complete(request)
        progress.finished(reply.completion_tokens or 0, reply.error)
        if reply.error is not None:
            raise self._failed(", ".join(client.url for client in fleet.clients), reply.error)
        return reply

    def _failed(self, url: str, reason: str) -> EngineError:
        where = f" (see {self._log})" if isinstance(self._engine, VllmEngine) else ""
        return EngineError(f"{url}: {reason}{where}; mend the server and run the same command again")

    def _sampled(self, wanted: Wanted, prompt: list[int], reply: ChatReply, prefill: str) -> Sampled:
        ids = reply.token_ids
        if ids is None:
            ids = self._tokenizer(reply.text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            ids = [*ids, self._tokenizer.eos_token_id] if reply.finish_reason == "stop" else ids
            if not self._told_of_text:
                say("the server gives no token ids: its text is tokenised again, which may not be what it sampled")
                self._told_of_text = True
        said = ids[:-1] if ids and ids[-1] in self._ends else ids
        return Sampled(
            wanted=wanted,
            ids=np.asarray([*prompt, *ids], dtype=np.int32),
            prompt=len(prompt),
            text=prefill + self._tokenizer.decode(said, skip_special_tokens=True),
            finish_reason=reply.finish_reason or "unknown",
            logprob_sum=reply.logprob_sum,
        )

    def _compare(self, sampled: Sequence[Sampled], told: Sequence[list[float] | None]) -> None:
        """Measures how far the sampler is from the trainer, and keeps what proves the next hand-over."""
        both = [
            (one, theirs)
            for one, theirs in zip(sampled, told, strict=True)
            if theirs is not None and len(theirs) == one.tokens
        ]
        if not both:
            return
        both = both[:: math.ceil(len(both) / _COMPARED)]
        replies = [_known(one.wanted.trajectory_id, one.ids, one.prompt) for one, _ in both]
        ours = self._logprobs(replies)
        theirs = torch.tensor([x for _, logprobs in both for x in logprobs])
        self.facts["rollout/logprob_gap"] = (torch.cat(ours) - theirs).abs().mean().item()
        # Without its last token, so that there is room for the one that a server has to sample.
        lengths = [min(one.example.labelled - 1, _PROVING_TOKENS) for one in replies]
        proving = [
            _known(one.example.id, one.example.ids[: one.example.prompt + n], one.example.prompt, logprobs[:n])
            for one, logprobs, n in zip(replies, ours, lengths, strict=True)
            if n > 0
        ]
        if proving:
            self._known = proving[:_PROVING]
            self._limit = min(self._tolerance, _FARTHER * self.facts["rollout/logprob_gap"] + _BESIDE)


def _known(name: str, ids: Any, prompt: int, logprobs: torch.Tensor | None = None) -> Trained:
    return Trained(Example(name, ids, prompt, 1.0), 0.0, old=logprobs)


def _untie(model: Any, folder: Path) -> None:
    """Gives a model in a folder an output layer of its own, where it shares that of the embeddings.

    vLLM on CPU (0.32) keeps the shared one as it was packed at its start when it reloads weights.
    """
    output = model.get_output_embeddings()
    if output.weight is not model.get_input_embeddings().weight:
        return
    from safetensors.torch import save_file

    name = next(name for name, module in model.named_modules() if module is output)
    # Beside model.safetensors: the folder has no index, so all of its files are read.
    save_file({f"{name}.weight": output.weight.detach().clone()}, folder / f"{name}.safetensors", {"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"tie_word_embeddings": False}), encoding="utf-8")


def _stale(theirs: torch.Tensor, before: torch.Tensor, now: torch.Tensor) -> bool:
    """Whether log-probabilities are rather of the weights before than of those now, beyond doubt.

    With c the change that we know of, the least-squares share of it that a server shows,

        share = sum c (theirs - before) / sum c^2,   standard error  sigma / sqrt(sum c^2),

    is 1 with the new weights and 0 with the old ones; sigma is how far the server is off anyway. A change that drowns
    in sigma decides nothing.

    >>> before = torch.zeros(100)
    >>> _stale(before, before, before + 0.1), _stale(before + 0.1, before, before + 0.1), _stale(before, before, before)
    (True, False, False)
    """
    change = now - before
    squares = change.square().sum()
    if squares == 0:
        return False
    share = (change * (theirs - before)).sum() / squares
    off = torch.minimum((theirs - now).square().mean(), (theirs - before).square().mean())
    return bool(share < 0.5 and _SURE * (off / squares).sqrt() < 0.5)
