"""Cards hold what the hub's validation admits, and say no more of licences and languages than the rows do."""

from typing import Any

import pytest
import yaml

from schemas.manifest import Manifest
from schemas.records import now
from tests.warehouse.hub_stand_in import card_errors
from warehouse.card import card


def front(rows: int = 12, kind: str = "samples", **counts: dict[str, int]) -> dict[str, Any]:
    """The front matter of the card of such a manifest, which is one that the hub takes."""
    manifest = Manifest(
        name="demo",
        version=3,
        created_at=now(),
        logical_hash="0" * 64,
        mix={"mix": "demo", "rows": kind},
        rows=rows,
        prompts=rows,
        counts={"split": {"train": rows}, "dropped": {}, **counts},
        tables={},
        checks={},
        code={},
        files=[],
    )
    text = card(manifest)
    assert card_errors(text) == []
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


@pytest.mark.parametrize(
    ("licences", "told"),
    [
        ({"MIT": 12}, ("mit", None)),
        ({"Apache-2.0": 12}, ("apache-2.0", None)),
        ({"CC-BY-4.0": 2, "cc-by-4.0": 10}, ("cc-by-4.0", None)),
        ({"ODC-By-1.0": 12}, ("odc-by", None)),
        ({"MIT": 6, "Apache-2.0": 6}, ("other", "apache-2.0-and-mit")),
        ({"MIT": 6, "None": 6}, ("other", "mit-and-unknown")),
        ({"House rules: \"v2\"": 12}, ("other", "house-rules-v2")),
        ({"許諾": 12}, ("other", "unnamed")),
        ({"None": 12}, ("unknown", None)),
        ({}, ("unknown", None)),
    ],
)  # fmt: skip
def test_the_licence_is_the_one_of_all_rows_or_other(licences: dict[str, int], told: tuple[str, str | None]) -> None:
    found = front(license=licences)
    assert (found["license"], found.get("license_name")) == told


def test_languages_are_codes_and_norwegian_is_not_false() -> None:
    assert front(language={"zh-Hans": 3, "no": 2, "en": 1, "en-GB": 1, "und": 1, "??": 1})["language"] == [
        "en",
        "no",
        "zh",
    ]
    assert "language" not in front(language={"None": 1})


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (800_000, "100K<n<1M"), (10**7, "10M<n<100M"),
        (10**11, "100B<n<1T"), (10**13, "n>1T"),
    ],
)  # fmt: skip
def test_the_size_is_one_of_the_hubs_steps(rows: int, size: str) -> None:
    assert front(rows)["size_categories"] == [size]


def test_every_kind_of_rows_has_a_task_and_its_splits() -> None:
    tasks = {kind: front(kind=kind)["task_categories"] for kind in ("samples", "pairs", "labels", "prompts")}
    assert tasks == {
        "samples": ["text-generation"],
        "pairs": ["text-generation"],
        "labels": ["text-classification"],
        "prompts": ["reinforcement-learning"],
    }
    told = front(split={"train": 10, "validation": 2})
    assert told["pretty_name"] == "demo@3"
    assert told["tags"] == ["dataengine", "samples"]
    assert told["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "train-*.parquet"},
                {"split": "validation", "path": "validation-*.parquet"},
            ],
        }
    ]


def test_the_hubs_own_library_reads_the_card() -> None:
    repocard = pytest.importorskip("huggingface_hub.repocard")
    found = front(license={"MIT": 1}, language={"en": 1})
    text = f"---\n{yaml.safe_dump(found)}---\n"
    data = repocard.DatasetCard(text).data
    assert (data.license, data.language, data.pretty_name) == ("mit", ["en"], "demo@3")
