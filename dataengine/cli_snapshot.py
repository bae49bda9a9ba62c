"""The commands about snapshots and mixes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dataengine.cli_common import DEFAULT_WAREHOUSE, WarehouseOption, say

snapshot_app = typer.Typer(help="Immutable, versioned selections.", no_args_is_help=True, rich_markup_mode=None)
mix_app = typer.Typer(help="What training makes of a mix.", no_args_is_help=True, rich_markup_mode=None)


@snapshot_app.command("create")
def snapshot_create(
    mix: Annotated[str, typer.Argument(help="A shipped mix's name, or a path.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what it would take, and write nothing.")] = False,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Make the next version of a mix's snapshot, unless nothing changed."""
    from dataengine.mix_preview import describe_preview
    from dataengine.runlog import code_versions
    from dataengine.shipped import load_mix, systems_of
    from warehouse.mix_preview import preview_mix
    from warehouse.snapshot import create_snapshot

    chosen = load_mix(mix, settings or [])
    if dry_run:
        say(describe_preview(chosen, preview_mix(warehouse, chosen, systems_of(chosen))))
        return
    snapshot, new = create_snapshot(warehouse, chosen, systems_of(chosen), code_versions())
    m = snapshot.manifest
    say(f"{m.id} {'made' if new else 'unchanged'}: {m.rows:,} rows, hash {m.logical_hash}\n{snapshot.path}")


@snapshot_app.command("list")
def snapshot_list(warehouse: WarehouseOption = DEFAULT_WAREHOUSE) -> None:
    """All snapshots."""
    from dataengine.tables import table
    from warehouse.snapshot import list_snapshots
    from warehouse.store import Warehouse

    rows = [
        {
            "snapshot": s.manifest.id,
            "rows": s.manifest.rows,
            "prompts": s.manifest.prompts,
            "made": f"{s.manifest.created_at:%Y-%m-%d %H:%M}",
            "hash": s.manifest.logical_hash[:12],
        }
        for s in list_snapshots(Warehouse.open(warehouse).path)
    ]
    say(table(rows))


@snapshot_app.command("show")
def snapshot_show(
    snapshot: Annotated[str, typer.Argument(help="name@version")],
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """What a snapshot holds: rows, counts, hashes, the mix, and the checks it relied on."""
    from dataengine.output import describe_snapshot
    from warehouse.snapshot import open_snapshot
    from warehouse.store import Warehouse

    say(describe_snapshot(open_snapshot(Warehouse.open(warehouse).path, snapshot)))


@snapshot_app.command("diff")
def snapshot_diff(
    before: Annotated[str, typer.Argument(help="name@version")],
    after: Annotated[str, typer.Argument(help="name@version, of the same kind of rows")],
    rows: Annotated[
        Path | None, typer.Option(help="A .parquet, .jsonl or .csv file for the ids of rows that are not the same.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """What differs: rows, by source, split and more, shares of tokens, verdicts, the mix."""
    from dataengine.diff_report import describe_diff
    from warehouse.diff import diff_snapshots
    from warehouse.snapshot import open_snapshot
    from warehouse.store import Warehouse

    path = Warehouse.open(warehouse).path
    found = diff_snapshots(open_snapshot(path, before), open_snapshot(path, after), rows=rows)
    say(json.dumps(found.as_json(), indent=2) if as_json else describe_diff(found))


@snapshot_app.command("export")
def snapshot_export(
    snapshot: Annotated[str, typer.Argument(help="name@version")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    form: Annotated[
        str,
        typer.Option(
            "--format", help="messages, prompt-completion, openai, sharegpt, alpaca; preference of pairs; prompts."
        ),
    ] = "messages",
    reasoning: Annotated[str, typer.Option(help="In the content, or split: in reasoning_content.")] = "content",
    shard_rows: Annotated[int | None, typer.Option(min=1, help="Rows of a file; default: one file a split.")] = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Write a snapshot in a shape that trainers read."""
    from warehouse.export import export_snapshot
    from warehouse.snapshot import open_snapshot
    from warehouse.store import Warehouse

    opened = open_snapshot(Warehouse.open(warehouse).path, snapshot)
    for file in export_snapshot(opened, form, out, reasoning=reasoning, shard_rows=shard_rows):
        say(str(file))


@snapshot_app.command("push")
def snapshot_push(
    snapshot: Annotated[str, typer.Argument(help="name@version")],
    repo: Annotated[str, typer.Argument(help="OWNER/REPO, of data sets.")],
    form: Annotated[str, typer.Option("--format", help="As of export.")] = "messages",
    reasoning: Annotated[str, typer.Option(help="In the content, or split: in reasoning_content.")] = "content",
    shard_rows: Annotated[int | None, typer.Option(min=1, help="Rows of a file; default: one file a split.")] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Of a repository that is made; a public one takes --public.")
    ] = True,
    revision: Annotated[str, typer.Option(help="The branch; made where it is missing.")] = "main",
    tag: Annotated[str | None, typer.Option(help="Of the commit; default: v and the version.")] = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Publish a snapshot as a Hugging Face data set: one commit, and a tag to load it by.

    The token is HF_TOKEN or that of `hf auth login`; HF_ENDPOINT names another server.
    """
    from warehouse.pushing import push_snapshot
    from warehouse.snapshot import open_snapshot
    from warehouse.store import Warehouse

    opened = open_snapshot(Warehouse.open(warehouse).path, snapshot)
    done = push_snapshot(
        opened, repo, form=form, reasoning=reasoning, shard_rows=shard_rows, private=private, branch=revision, tag=tag
    )
    say(f"{opened.manifest.id} {'pushed' if done.new else 'is there already'}: {done.said}")


@mix_app.command("check")
def mix_check(
    snapshot: Annotated[str, typer.Argument(help="name@version, of samples")],
    tokenizer: Annotated[str, typer.Option(help="A folder with a tokenizer, or a shipped model's name.")],
    max_length: Annotated[int | None, typer.Option(min=1, help="In tokens: longer rows are listed.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="A chat template in Jinja; default: the tokenizer's own.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON: the report with the ids of rows.")] = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Render every row with a chat template: does the reply survive, how long is it, what is learnt."""
    from dataengine.mix_check import check_snapshot
    from warehouse.snapshot import open_snapshot
    from warehouse.store import Warehouse

    opened = open_snapshot(Warehouse.open(warehouse).path, snapshot)
    found = check_snapshot(opened, tokenizer, template=template, max_length=max_length, out=out)
    for line in found.lines:
        say(line)
    raise typer.Exit(0 if found.good else 1)
