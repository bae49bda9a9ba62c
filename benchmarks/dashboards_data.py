"""The made-up warehouse that the apps are measured on, and a run that goes on writing to it."""

import json
import math
import os
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from snapshots import Texts

from schemas.arrow import arrow_schema
from schemas.keys import canonical_json
from schemas.records import Message, Metric, Prompt, Record, Run, Trajectory, Verdict, now
from warehouse.store import Warehouse

COLD_START = 4000
COLD_START_LENGTH = 20_000
REPLY_LENGTH = 3000
A_PROMPT = 4
BATCH = 20_000
MADE = datetime(2026, 1, 1, tzinfo=UTC)
# Check, kind, and the share of replies that pass.
CHECKS = (
    ("math", "verifier", 0.62),
    ("format", "filter", 0.98),
    ("length", "filter", 0.97),
    ("language_mix", "filter", 0.97),
)
JUDGED = 0.2
DOMAINS, LANGUAGES = ("math", "code", "science", "logic"), ("en", "de", "zh")
FORMULAS = (
    r"$a_{} = \frac{{b_{}}}{{2}} + {}$",
    r"\( x_{}^2 + y_{}^2 \leq {} \)",
    r"$$\sum_{{i=1}}^{{{}}} i^2 = {} + \sqrt{{{}}}$$",
    r"\[ f_{}(x) = {} x^2 - {} \]",
)


def long_reply(texts: Texts, length: int = COLD_START_LENGTH, answer: int = 7) -> tuple[str, str]:
    """Reasoning of so many characters in paragraphs, with formulas, code and second thoughts; and a summary."""
    random, parts, size = texts.random, [], 0
    while size < length:
        text = texts.some(np.array([int(random.integers(150, 700))]))[0]
        numbers = [int(n) for n in random.integers(1, 99, 3)]
        if random.random() < 0.6:
            middle = text.find(" ", len(text) // 2)
            text = f"{text[:middle]} {FORMULAS[int(random.integers(len(FORMULAS)))].format(*numbers)}{text[middle:]}"
        if random.random() < 0.15:
            text = f"Wait, {text}"
        if random.random() < 0.08:
            text = f"```python\nfor i in range({numbers[0]}):\n    total += i ** 2  # {text[:40]}\nprint(total)\n```"
        parts.append(text)
        size += len(text) + 2
    reasoning = "\n\n".join(parts)[:length]
    return reasoning, f"{texts.some(np.array([400]))[0]}\n\nThe answer is $\\boxed{{{answer}}}$."


def made(folder: Path, rows: int) -> Path:
    """Makes the warehouse of so many replies unless it is there."""
    if not folder.exists():
        making = folder.with_name(f"{folder.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        print(f"making {folder} of {rows:,} replies", file=sys.stderr, flush=True)
        # In a process of its own: children count the peak of their parent's memory as theirs.
        filling = get_context("spawn").Process(target=fill, args=(making, rows))
        filling.start()
        filling.join()
        if filling.exitcode:
            sys.exit(f"{making} could not be made")
        making.rename(folder)
    return folder


def fill(folder: Path, rows: int) -> None:
    """Writes replies of which `COLD_START` are long ones of stage cold_start; verdicts on all, a judge's on some."""
    warehouse = Warehouse.open(folder, create=True)
    texts = Texts(seed=0)
    _runs(warehouse)
    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        _batch(warehouse, texts, "reasoning", start, n)
    _batch(warehouse, texts, "cold_start", rows, min(COLD_START, rows // 10))
    warehouse.compact()


def _write(warehouse: Warehouse, record: type[Record], n: int, columns: dict[str, Any], alike: dict[str, Any]) -> None:
    columns = columns | {name: [value] * n for name, value in alike.items()}
    schema = arrow_schema(record)
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in schema]
    write_deltalake(warehouse.delta(record.TABLE), pa.Table.from_arrays(arrays, schema=schema), mode="append")


def _runs(warehouse: Warehouse) -> None:
    checks = [
        {"stage": stage, "check": check, "version": "1", "verifier": kind == "verifier"}
        for stage in ("reasoning", "cold_start")
        for check, kind, _ in CHECKS
    ]
    warehouse.append(
        "runs",
        [
            Run(
                run_id=f"r{i}",
                event="started",
                recipe="made-up",
                config="{}",
                checks=json.dumps(checks),
                created_at=MADE,
            )
            for i in range(4)
        ],
    )
    names = ("loss", "reward/mean", "completions/mean_length", "pass_at_1", "cons_at_64", "reflective_words")
    warehouse.append(
        "metrics",
        [
            Metric(
                run_id=f"train-{run}", step=step, name=name, created_at=MADE + timedelta(seconds=step),
                value=math.log(step + 2) + run / 3 + math.sin(step * (i + 1)) / 9,
            )
            for run in range(3)
            for step in range(1000)
            for i, name in enumerate(names)
        ],
    )  # fmt: skip


def _batch(warehouse: Warehouse, texts: Texts, stage: str, start: int, n: int) -> None:
    random = texts.random
    asked = texts.some(np.full(max(1, n // A_PROMPT), 300))
    prompts = [_prompt(text, start + i) for i, text in enumerate(asked)]
    columns = {name: [getattr(p, name) for p in prompts] for name in Prompt.model_fields}
    columns["messages"] = [[m.model_dump() for m in p.messages] for p in prompts]
    _write(warehouse, Prompt, len(prompts), columns, {})
    of = [prompts[min(i // A_PROMPT, len(prompts) - 1)] for i in range(n)]
    if stage == "cold_start":
        reasoning, answers = map(list, zip(*(long_reply(texts) for _ in range(n)), strict=True))
    else:
        reasoning = texts.some(texts.uneven(n, REPLY_LENGTH * 5 // 6))
        answers = [f"{a} The answer is {i % 9}." for i, a in enumerate(texts.some(np.full(n, REPLY_LENGTH // 6)))]
    ids = [sha256(str(start + i).encode()).hexdigest() for i in range(n)]
    times = [MADE + timedelta(seconds=(start + i) / 10) for i in range(n)]
    columns = {
        "trajectory_id": ids,
        "prompt_id": [p.prompt_id for p in of],
        "sample_index": [i % A_PROMPT for i in range(n)],
        "reasoning": reasoning,
        "answer": answers,
        "text": [f"<think>\n{r}\n</think>\n{a}" for r, a in zip(reasoning, answers, strict=True)],
        "completion_tokens": [len(r) // 4 + len(a) // 4 for r, a in zip(reasoning, answers, strict=True)],
        "finish_reason": ["length" if x < 0.03 else "stop" for x in random.random(n)],
        "policy": [f"model@{(start + i) // A_PROMPT % 3}" for i in range(n)],
        "run_id": [f"r{(start + i) // A_PROMPT % 4}" for i in range(n)],
        "seconds": (random.random(n) * 20).tolist(),
        "created_at": times,
    }
    alike = {"attempt": 1, "stage": stage, "engine": "endpoint", "sampling": "{}", "rendered_key": "k"}
    _write(warehouse, Trajectory, n, columns, alike | {"prompt_tokens": 80, "max_tokens": 32768})
    for check, kind, share in CHECKS:
        _verdicts(
            warehouse, ids, times, check, kind, random.random(n) < share, of if kind == "verifier" else None, random
        )
    some = np.flatnonzero(random.random(n) < JUDGED).tolist()
    _verdicts(
        warehouse, [ids[i] for i in some], [times[i] for i in some], "judge", "judge", random.random(len(some)) < 0.6,
        None, random,
    )  # fmt: skip


def _verdicts(
    warehouse: Warehouse, ids: list[str], times: list[datetime], check: str, kind: str, passed: Any,
    of: list[Prompt] | None, random: Any,
) -> None:  # fmt: skip
    n = len(ids)
    columns = {
        "trajectory_id": ids,
        "against": [p.against for p in of] if of else [""] * n,
        "score": [float(p) if check != "language_mix" else 1.0 if p else 0.8 for p in passed],
        "outcome": ["pass" if p else "fail" for p in passed],
        "created_at": times,
        "details": [
            "{}" if p or check != "language_mix" else '{"spans": [[40, 90, "de"]], "words": 99}' for p in passed
        ],
        "seconds": (random.random(n) / 100).tolist(),
    }
    alike = {"attempt": 1, "check": check, "version": "1", "kind": kind, "reason": "", "run_id": "r0"}
    _write(warehouse, Verdict, n, columns, alike)


def _prompt(text: str, number: int) -> Prompt:
    return Prompt.make(
        [Message(role="user", content=f"{text} {number}?")],
        domain=DOMAINS[number % len(DOMAINS)],
        source=f"set-{number % 7}",
        language=LANGUAGES[number % 11 % len(LANGUAGES)],
        reference="7",
        verifier="math",
        license="MIT",
    )


def write_on(folder: Path, every: float = 1.0, batch: int = 64) -> None:
    """Goes on as a run does, with replies and their verdicts, until the process that began it is gone."""
    warehouse, texts, parent = Warehouse.open(folder), Texts(seed=os.getpid(), words=1_000_000), os.getppid()
    prompts = [_prompt(text, i) for i, text in enumerate(texts.some(np.full(500, 300)))]
    warehouse.append("prompts", prompts)
    number = 0
    while os.getppid() == parent:
        started = time.monotonic()
        rows, verdicts = [], []
        for i in range(batch):
            prompt = prompts[int(texts.random.integers(len(prompts)))]
            reasoning, answer = texts.some(texts.uneven(1, 2500))[0], "The answer is 7."
            row = Trajectory(
                trajectory_id=sha256(f"{os.getpid()} {started} {number} {i}".encode()).hexdigest(),
                prompt_id=prompt.prompt_id, stage="reasoning", policy="model@on", engine="endpoint", sampling="{}",
                sample_index=i, rendered_key="k", reasoning=reasoning, answer=answer,
                text=f"<think>\n{reasoning}\n</think>\n{answer}", finish_reason="stop", prompt_tokens=80,
                completion_tokens=700, max_tokens=32768, run_id="r0", created_at=now(),
            )  # fmt: skip
            rows.append(row)
            verdicts += [
                Verdict(
                    trajectory_id=row.trajectory_id, attempt=1, check=check, version="1", kind=kind, score=1.0,
                    outcome="pass", against=prompt.against if kind == "verifier" else "", run_id="r0",
                    details=canonical_json({}), created_at=now(),
                )  # type: ignore[arg-type] # CHECKS has kinds
                for check, kind, _ in CHECKS
            ]  # fmt: skip
        warehouse.append("trajectories", rows)
        warehouse.append("verdicts", verdicts)
        number += 1
        print(number * batch, flush=True)
        time.sleep(max(0.0, every - (time.monotonic() - started)))
