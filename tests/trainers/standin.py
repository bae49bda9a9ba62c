"""Stands in for a vLLM server: its API for token ids, answered by our own Decoder, and weights reloaded when told."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import torch
from aiohttp import web
from transformers import AutoTokenizer

from dataengine.engines.decoder import Decoder, Request, load_for_decoding
from dataengine.engines.server import Worker, stop_tokens


class StandIn:
    """A real server on 127.0.0.1 in a thread of its own.

    Without `token_ids` it is an older vLLM, without `orders` one that is not in development mode. Told to load weights
    it says that it has, and has not renewed those with `keeps` in their names. After `dies_after` completions it cuts
    all connections. The first `busy` completions it refuses.
    """

    def __init__(
        self,
        folder: Path,
        *,
        token_ids: bool = True,
        orders: bool = True,
        keeps: str | None = None,
        dies_after: int | None = None,
        busy: int = 0,
    ) -> None:
        self.token_ids = token_ids
        self.keeps = keeps
        self.dies_after = dies_after
        self.busy = busy
        self.loaded: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self._orders = orders
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._stop = stop_tokens(folder, self._tokenizer)
        self._loop = asyncio.new_event_loop()
        self._worker = Worker(self._decoder(folder), self._loop)
        self._worker.start()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="vLLM's stand-in")
        self._thread.start()
        assert ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def _decoder(self, folder: Path) -> Decoder:
        return Decoder(load_for_decoding(folder), slots=64, stop=self._stop)

    def _serve(self, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes([web.get("/v1/models", self._models), web.post("/v1/completions", self._complete)])
        if self._orders:
            orders = [web.post("/collective_rpc", self._reload), web.post("/reset_prefix_cache", self._reset)]
            app.add_routes(orders)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    def close(self) -> None:
        """Ends it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def _reload(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["method"] == "reload_weights"
        folder = Path(body["kwargs"]["weights_path"])
        self.loaded.append(folder.name)
        before = dict(self._worker.decoder.model.named_parameters())
        self._worker.decoder = self._decoder(folder)
        with torch.no_grad():
            for name, p in self._worker.decoder.model.named_parameters():
                if self.keeps is not None and self.keeps in name:
                    p.copy_(before[name])
        return web.json_response({"results": [None]})

    async def _reset(self, request: web.Request) -> web.Response:
        return web.json_response({"success": True})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        if self.dies_after is not None and len(self.asked) > self.dies_after:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.busy:
            self.busy -= 1
            return web.json_response({"error": {"message": "slow down"}}, status=503)
        asked = Request(
            body["prompt"],
            body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            seed=body.get("seed", 0),
        )
        reply = await self._worker.ask(asked)
        ids = reply.tokens if reply.end is None else [*reply.tokens, reply.end]
        choice: dict[str, Any] = {
            "index": 0,
            "text": self._tokenizer.decode(reply.tokens, skip_special_tokens=True),
            "finish_reason": reply.finish_reason,
            "logprobs": {"token_logprobs": reply.logprobs},
        }
        if self.token_ids and body.get("return_token_ids"):
            choice["token_ids"] = ids
        if "prompt_logprobs" in body:
            choice["prompt_logprobs"] = [None, *self._of_prompt(body["prompt"])]
        return web.json_response({"choices": [choice]})

    @torch.inference_mode()
    def _of_prompt(self, ids: list[int]) -> list[dict[str, Any]]:
        logits = self._worker.decoder.model(input_ids=torch.tensor([ids])).logits[0]
        logprobs = logits.log_softmax(-1)
        return [{str(token): {"logprob": logprobs[i, token].item()}} for i, token in enumerate(ids[1:])]
