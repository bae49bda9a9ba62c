"""Dataset cards: front matter that `datasets` and the Hugging Face hub read, then the counts."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from schemas.manifest import Manifest

# The hub's identifiers of licences, without those of single models; it refuses a card with any other.
_LICENCES = (
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc "
    "cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 "
    "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 "
    "gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by "
    "ofl-1.1 openmdw-1.0 openrail osl-3.0 pddl postgresql unlicense wtfpl zlib"
)
# What SPDX calls otherwise.
_SPDX = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}
_TASKS = {
    "samples": "text-generation",
    "pairs": "text-generation",
    "labels": "text-classification",
    "prompts": "reinforcement-learning",
}


def card(manifest: Manifest) -> str:
    """The card of a snapshot, in Markdown."""
    counts = {column: values for column, values in manifest.counts.items() if column != "dropped"}
    lines = ["---", *_front(manifest).splitlines(), "---", "", f"# {manifest.id}", ""]
    lines += [manifest.about, ""]
    lines += [f"{manifest.rows} rows from {manifest.prompts} prompts; logical hash `{manifest.logical_hash}`.", ""]
    for column, values in counts.items():
        lines += [f"| {column} | rows |", "|---|---:|"]
        lines += [f"| {value} | {rows} |" for value, rows in values.items()] + [""]
    return "\n".join(lines)


def _front(manifest: Manifest) -> str:
    """The front matter in YAML, which is the same for the same manifest."""
    files = [{"split": split, "path": f"{split}-*.parquet"} for split in sorted(manifest.counts["split"])]
    told: dict[str, Any] = {
        "pretty_name": manifest.id,
        **_licence(manifest.counts.get("license", {})),
        "language": _languages(manifest.counts.get("language", {})),
        "task_categories": [_TASKS[manifest.rows_of]],
        "size_categories": [_size(manifest.rows)],
        "tags": ["dataengine", manifest.rows_of],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    # Dumped, not written: of language codes `no` would be read as false.
    return str(yaml.safe_dump({k: v for k, v in told.items() if v}, sort_keys=False, allow_unicode=True))


def _licence(named: Iterable[str]) -> dict[str, str]:
    """The one licence of all rows by the hub's name, or `other` with the names of all; None is that of no licence."""
    names = sorted({"unknown" if name == "None" else _SPDX.get(name.lower(), name.lower()) for name in named})
    if names in ([], ["unknown"]):
        return {"license": "unknown"}
    if len(names) == 1 and names[0] in _LICENCES.split():
        return {"license": names[0]}
    # The hub takes nothing else in a name.
    plain = [re.sub("[^a-z0-9.]+", "-", name).strip("-") or "unnamed" for name in names]
    return {"license": "other", "license_name": "-and-".join(plain)}


def _languages(named: Iterable[str]) -> list[str]:
    """ISO 639 codes without region or script."""
    codes = {name.lower().partition("-")[0] for name in named}
    return sorted(code for code in codes if re.fullmatch("[a-z]{2,3}", code) and code != "und")


def _size(rows: int) -> str:
    """The hub's size category."""
    steps = [(10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M"), (10**8, "100M")]
    steps += [(10**9, "1B"), (10**10, "10B"), (10**11, "100B"), (10**12, "1T")]
    below = "n"
    for number, name in steps:
        if rows < number:
            return f"{below}<{name}" if below == "n" else f"{below}<n<{name}"
        below = name
    return "n>1T"
