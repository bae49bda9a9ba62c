"""The decoder writes what the model alone would write, whatever else is running."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from dataengine.engines.decoder import Decoder, Reply, Request, draw, load_for_decoding

pytestmark = pytest.mark.slow

STOP = 2


def decoder(folder: Path, slots: int = 8) -> Decoder:
    return Decoder(load_for_decoding(folder), slots=slots, stop={STOP})


def run(made: Decoder, requests: Sequence[Request]) -> list[Reply]:
    replies: dict[int, Reply] = {}
    for place, request in enumerate(requests):
        request.done = lambda reply, place=place: replies.__setitem__(place, reply)  # type: ignore[misc]
        made.submit(request)
    while made.busy:
        made.step()
    return [replies[i] for i in range(len(requests))]


def prompts(count: int, seed: int = 0, shared: int = 0, longest: int = 60) -> list[list[int]]:
    rng = random.Random(seed)
    head = [rng.randrange(3, 290) for _ in range(shared)]
    return [head + [rng.randrange(3, 290) for _ in range(rng.randrange(1, longest))] for _ in range(count)]


def alone(made: Decoder, prompt: list[int], tokens: int) -> list[int]:
    """What `model.generate` makes of one prompt, greedily, without the end token."""
    ids = torch.tensor([prompt])
    out = made.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, eos_token_id=STOP,
        pad_token_id=STOP,
    )  # fmt: skip
    written = out[0, len(prompt) :].tolist()
    return written[: written.index(STOP)] if STOP in written else written


def test_greedy_tokens_of_many_prompts_together_are_those_of_each_alone(random_llama: Path) -> None:
    made = decoder(random_llama)
    asked = prompts(16)
    budgets = [5 + 3 * (i % 7) for i in range(16)]
    replies = run(made, [Request(p, n, temperature=0) for p, n in zip(asked, budgets, strict=True)])
    assert [r.tokens for r in replies] == [alone(made, p, n) for p, n in zip(asked, budgets, strict=True)]
    for reply, budget in zip(replies, budgets, strict=True):
        assert reply.finish_reason == ("length" if len(reply.tokens) == budget else "stop")
        assert len(reply.logprobs) == len(reply.tokens) + (reply.finish_reason == "stop")


def test_shared_prefixes_are_run_once_and_change_nothing(random_llama: Path) -> None:
    made = decoder(random_llama, slots=5)
    asked = prompts(8, shared=70) + prompts(3, seed=1) + prompts(1, shared=70) * 3
    replies = run(made, [Request(p, 12, temperature=0) for p in asked])
    assert [r.tokens for r in replies] == [alone(made, p, 12) for p in asked]
    assert made.shared_tokens >= 7 * 64
    assert made.prefilled_tokens + made.shared_tokens <= sum(len(p) for p in asked)


def test_log_probabilities_are_those_of_the_model(random_llama: Path) -> None:
    made = decoder(random_llama)
    prompt = prompts(1, seed=3)[0]
    (reply,) = run(made, [Request(prompt, 10, temperature=0.7, seed=4)])
    ids = prompt + reply.tokens
    with torch.inference_mode():
        true = made.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = [float(true[len(prompt) - 1 + i, t]) for i, t in enumerate(reply.tokens)]
    assert reply.logprobs[: len(wanted)] == pytest.approx(wanted, abs=1e-3)


def test_a_seed_gives_its_sample_whatever_else_is_running(random_llama: Path) -> None:
    prompt = prompts(1, seed=5)[0]
    (first,) = run(decoder(random_llama), [Request(prompt, 20, seed=11)])
    others = [Request(p, 3 + i, seed=i) for i, p in enumerate(prompts(15, seed=6))]
    crowd = run(decoder(random_llama, slots=4), [*others[:7], Request(prompt, 20, seed=11), *others[7:]])
    assert crowd[7].tokens == first.tokens
    (other,) = run(decoder(random_llama), [Request(prompt, 20, seed=12)])
    assert other.tokens != first.tokens


def test_a_longer_request_makes_the_store_larger(random_llama: Path) -> None:
    made = decoder(random_llama, slots=3)
    short, long = prompts(4, longest=8), prompts(2, seed=8, shared=250)
    run(made, [Request(p, 4, temperature=0) for p in short])
    assert made._store is not None
    columns = made._store.columns
    asked = [*short, *long, *short]
    replies = run(made, [Request(p, 30, temperature=0) for p in asked])
    assert made._store.columns > columns
    assert [r.tokens for r in replies] == [alone(made, p, 30) for p in asked]


def test_many_replies_slide_through_a_small_store(random_llama: Path) -> None:
    made = decoder(random_llama, slots=2)
    asked = prompts(12, seed=9, longest=20)
    replies = run(made, [Request(p, 25, temperature=0) for p in asked])
    assert [r.tokens for r in replies] == [alone(made, p, 25) for p in asked]


def test_a_request_that_cannot_fit_is_refused(random_llama: Path) -> None:
    made = decoder(random_llama)
    with pytest.raises(ValueError, match=r"500 prompt tokens and max_tokens 13 exceed the model's 512"):
        made.submit(Request([5] * 500, 13))
    with pytest.raises(ValueError, match="the prompt is empty"):
        made.submit(Request([], 5))
    assert not made.busy
    (reply,) = run(made, [Request([5] * 500, 12, temperature=0)])
    assert reply.tokens == alone(made, [5] * 500, 12)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.8), (2.0, 0.9), (0.7, 0.01)])
def test_draws_follow_the_distribution(temperature: float, top_p: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 12) * 1.5
    true = (logits[0] / temperature).softmax(-1)
    order = true.argsort(descending=True).tolist()
    nucleus: list[int] = []
    while not nucleus or sum(float(true[t]) for t in nucleus) < top_p - 1e-6:
        nucleus.append(order[len(nucleus)])
    mass = sum(float(true[t]) for t in nucleus)
    rng, number = random.Random(1), 6000
    request = Request([1], 1, temperature=temperature, top_p=top_p)
    rows = logits.expand(500, -1)
    drawn: Counter[int] = Counter()
    for _ in range(number // 500):
        drawn.update(draw(rows, [request] * 500, [rng] * 500)[0])
    assert set(drawn) <= set(nucleus)
    expected = {t: number * float(true[t]) / mass for t in nucleus}
    chi_square = sum((drawn[t] - e) ** 2 / e for t, e in expected.items())
    # Mean k - 1, standard deviation sqrt(2 (k - 1)): six of them, with a fixed seed, is no matter of luck.
    free = max(1, len(nucleus) - 1)
    assert chi_square < free + 6 * (2 * free) ** 0.5


def test_a_nucleus_wider_than_the_usual_is_drawn_from_whole() -> None:
    logits = torch.zeros(400, 3000)  # all alike: 0.9 of the mass are 2,700 tokens
    request = Request([1], 1, top_p=0.9)
    rngs = [random.Random(i) for i in range(400)]
    tokens, logprobs = draw(logits, [request] * 400, rngs)
    assert len(set(tokens)) > 300
    assert logprobs[0] == pytest.approx(-8.006, abs=0.01)


def test_what_lies_beyond_the_likeliest_few_hundred_is_drawn_as_often_as_it_is_likely() -> None:
    torch.manual_seed(0)
    # Tokens of every other group of four cannot come at all, and lie between those that can.
    logits = torch.randn(1000) * 0.3
    logits[torch.arange(1000) % 8 >= 4] = -torch.inf
    request = Request([1], 1)
    drawn: Counter[int] = Counter()
    for first in range(0, 20_000, 500):
        rngs = [random.Random(first + i) for i in range(500)]
        drawn.update(draw(logits.expand(500, -1), [request] * 500, rngs)[0])
    true = logits.softmax(-1)
    likeliest = set(true.topk(256).indices.tolist())
    assert all(true[token] > 0 for token in drawn)
    beyond = [t for t in range(1000) if t not in likeliest and true[t] > 0]
    chi_square = sum((drawn[t] - 20_000 * float(true[t])) ** 2 / (20_000 * float(true[t])) for t in beyond)
    assert chi_square < len(beyond) + 6 * (2 * len(beyond)) ** 0.5


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    assert draw(logits, [Request([1], 1, temperature=0)], [random.Random(0)])[0] == [1]
