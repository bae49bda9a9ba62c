"""The model card of a checkpoint."""

from typing import Any

import yaml

from schemas.manifest import Manifest


def model_card(training: dict[str, Any], manifest: Manifest, method: str, facts: dict[str, str]) -> str:
    """The card: front matter in the hub's terms, then what was trained on what. No path of this machine is in it.

    `method` begins the sentence that says what was done with the start weights, `facts` are the rows of the table.
    """
    lora = training["config"]["lora"]
    trained = f"low-rank adapters (LoRA, rank {lora['r']}, alpha {lora['alpha']})" if lora else "all weights"
    if lora and lora["merge"]:
        trained += ", added to the weights,"
    rows = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    return (
        f"---\n{yaml.safe_dump(_front_matter(training, manifest), sort_keys=False)}---\n\n"
        f"# {training['policy']}\n\n"
        f"{method} of {trained} of `{training['start']['policy']}` on the snapshot "
        f"`{training['snapshot']}`, logical hash `{training['snapshot_hash']}`.\n\n"
        f"In its warehouse `dataengine snapshot show {training['snapshot']}` tells what it holds and how it was made, "
        f"and `dataengine explain ID --snapshot {training['snapshot']}` where a row of it is from.\n\n"
        f"| | |\n|---|---|\n{rows}\n"
        f"`training.json` says the rest: settings, hashes, versions. `metrics.jsonl` holds every step.\n"
    )


def _front_matter(training: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """What the hub reads of a card; names cannot have an `@` there, so the version and the hashes stand beside them."""
    start = training["start"]
    adapters = (training["config"]["lora"] or {"merge": True})["merge"] is False
    languages = [code for code in manifest.counts.get("language", {}) if len(code) in (2, 3)]
    return {
        "library_name": "peft" if adapters else "transformers",
        "pipeline_tag": "text-generation",
        "base_model": start["policy"].partition("@")[0],
        "base_model_relation": "adapter" if adapters else "finetune",
        "base_model_sha256": start["sha256"],
        "datasets": [manifest.name],
        "snapshot": training["snapshot"],
        "snapshot_hash": training["snapshot_hash"],
        **({"license": start["license"].lower()} if "license" in start else {}),
        **({"language": languages} if languages else {}),
        "tags": ["dataengine", training["trainer"]],
    }
