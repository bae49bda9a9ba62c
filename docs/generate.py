"""Makes the pages that are worked out from the code: docs/cli.md, docs/schema.md, schemas/jsonschema/, and tables."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer import Typer

ROOT = Path(__file__).resolve().parent.parent
# Between these two lines stands the table of keys.
_KEYS = ("<!-- keys: made by `make docs` -->", "<!-- end of keys -->")


def cli_page() -> str:
    """Every command's own help."""
    # Fixed width and no colour: the page must not depend on the terminal it was made in.
    os.environ |= {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    from typer.testing import CliRunner

    from dataengine.cli import app as dataengine
    from trainers.cli import app as trainers

    runner = CliRunner()
    lines = [
        "# Commands",
        "",
        "Made by `make docs` from the programs' own help; a test compares. Exit codes: 0 done, 1 work finished with",
        "errors recorded, 2 wrong input or configuration, 130 interrupted (what was finished is kept).",
    ]
    for program, app in (("dataengine", dataengine), ("trainers", trainers)):
        for command in [[], *_commands(app)]:
            result = runner.invoke(app, [*command, "--help"], prog_name=program)
            title = " ".join([program, *command])
            text = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
            lines += ["", f"## {title}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def _commands(app: "Typer") -> Iterator[list[str]]:
    """Every command's words: those of the program itself, then those of its groups."""
    for command in app.registered_commands:
        yield [command.name or getattr(command.callback, "__name__", "")]
    for group in app.registered_groups:
        assert group.name is not None and group.typer_instance is not None
        for (name,) in _commands(group.typer_instance):
            yield [group.name, name]


def schema_page() -> str:
    """Every table's columns."""
    from schemas.arrow import arrow_schema
    from schemas.records import RECORDS

    lines = [
        "# Tables",
        "",
        "Made by `make docs` from `schemas/records.py`; a test compares. The views over them stand in",
        "`warehouse/views.sql`, and `dataengine sql --list` names them. JSON Schemas of rows, recipes, mixes, queues,",
        "access files and manifests are in `schemas/jsonschema/`.",
    ]
    for table, record in RECORDS.items():
        about = " ".join((record.__doc__ or "").split())
        lines += ["", f"## {table}", "", about, "", f"No two rows have the same ({', '.join(record.KEYS)}).", ""]
        lines += ["| column | type | |", "|---|---|---|"]
        types = arrow_schema(record)
        for name, field in record.model_fields.items():
            lines.append(f"| `{name}` | {_short(str(types.field(name).type))} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _short(arrow: str) -> str:
    return arrow.replace(" not null", "").replace("element: ", "").replace("item: ", "").replace("|", "\\|")


def json_schemas() -> dict[str, str]:
    """JSON Schema documents by file name."""
    from schemas.access import Access
    from schemas.manifest import Manifest
    from schemas.mix import MixFile
    from schemas.queue import Queue
    from schemas.recipe import Recipe
    from schemas.records import RECORDS

    files = {"recipe": Recipe, "mix": MixFile, "queue": Queue, "access": Access, "manifest": Manifest}
    models = files | {f"row-{t}": r for t, r in RECORDS.items()}
    return {f"{n}.json": json.dumps(m.model_json_schema(), indent=2) + "\n" for n, m in models.items()}


def review_page() -> str:
    """The guide to the review app as it is, with its table of keys made anew."""
    from dashboards.review.keys import KEYS

    kinds = {"always": "", "attempt": "one reply", "pair": "two replies"}
    lines = ["", "| key | what it does | in tasks of |", "|---|---|---|"]
    for group in dict.fromkeys(k.group for k in KEYS):
        lines.append(f"| | **{group}** | |")
        lines += [f"| `{k.key}` | {k.label} | {kinds[k.when]} |" for k in KEYS if k.group == group]
    text = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(_KEYS[0])
    _, found, tail = rest.partition(_KEYS[1])
    assert found, "docs/review.md lacks the place for its table of keys"
    return "\n".join([f"{head}{_KEYS[0]}", *lines, "", f"{_KEYS[1]}{tail}"])


def pages() -> dict[Path, str]:
    """All generated files with their content."""
    return {
        ROOT / "docs" / "cli.md": cli_page(),
        ROOT / "docs" / "review.md": review_page(),
        ROOT / "docs" / "schema.md": schema_page(),
        **{ROOT / "schemas" / "jsonschema" / name: text for name, text in json_schemas().items()},
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
