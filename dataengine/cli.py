"""The roof: every command is a thin call of a public function."""

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from dataengine.cli_common import DEFAULT_WAREHOUSE, WarehouseOption, say
from dataengine.cli_snapshot import mix_app, snapshot_app
from dataengine.screen import first_of
from schemas.errors import ConfigError, UserError
from warehouse.interrupts import interruptible

app = typer.Typer(
    help="Reasoning data for post-training: generate, verify, filter, snapshot, train, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(snapshot_app, name="snapshot")
app.add_typer(mix_app, name="mix")
judge_app = typer.Typer(help="Models as judges.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(judge_app, name="judge")

LayoutOption = Annotated[
    str | None, typer.Option(help="The columns of a known data set: gsm8k, alpaca ...; any other name lists them.")
]
MapOption = Annotated[list[str] | None, typer.Option("--map", help="field=column, for files with other names.")]
AddressOption = Annotated[str, typer.Option(help="Where it listens; beyond localhost only with --access.")]
UserOption = Annotated[str | None, typer.Option(help="Who you are, on your own machine; default: your login name.")]
AccessOption = Annotated[Path | None, typer.Option(help="YAML: how people sign in, and what each may do.")]
SecretsOption = Annotated[
    Path | None, typer.Option(help="TOML: settings of OpenID Connect; default: Streamlit's secrets.toml.")
]


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a path.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, such as steps.cold_start.samples=2")] = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many prompts of each set.")] = None,
) -> None:
    """Do the work of a recipe that is not done yet. Can be stopped and started again at any time."""
    from dataengine.run import run_recipe
    from dataengine.shipped import load_recipe

    result = run_recipe(load_recipe(recipe, settings or []), warehouse, limit=limit, say=say)
    if not result.worked:
        say(f"nothing to do: {recipe} is complete in {warehouse}")
    if not result.balanced:
        say("the conservation line does not add up: see `dataengine doctor`")
    if result.errors:
        say(f"{result.errors} requests or checks failed and are recorded: `dataengine sql --name errors`")
    if result.missing:
        say(f"{result.missing} verdicts of judges are missing, their requests failed: run again to ask again")
    raise typer.Exit(1 if result.errors or result.missing or not result.balanced else 0)


@app.command()
def preview(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a path.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, such as steps.cold_start.samples=2")] = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    rows: Annotated[int, typer.Option(min=1, help="Prompts of each step that are sampled once.")] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many prompts of each set.")] = None,
) -> None:
    """A few rows of a recipe end to end, and what all of it takes. Writes nothing."""
    from dataengine.preview import preview_recipe
    from dataengine.shipped import load_recipe

    preview_recipe(load_recipe(recipe, settings or []), warehouse, rows=rows, limit=limit, say=say)


@app.command()
def status(
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How far the work is, and whether it adds up."""
    from dataengine.status import status as read
    from dataengine.tables import table

    found = read(warehouse)
    if as_json:
        say(json.dumps(found.as_json(), indent=2))
    else:
        say(table(found.stages))
        say("\napplicable = pass + fail + undecided + error + pending, per stage and check:")
        for line in found.conservation:
            say(line.text)
        for title, rows in (("runs", found.runs), ("snapshots", found.snapshots)):
            if rows:
                say(f"\n{title}:\n{table(rows)}")
        if found.conflicts:
            say(f"\n{found.conflicts} prompts have conflicting references: `dataengine sql --name conflicts`")
    raise typer.Exit(0 if found.balanced else 1)


@app.command()
def explain(
    id: Annotated[
        str | None, typer.Argument(help="Of a prompt, trajectory or pair; its first characters will do.")
    ] = None,
    mix: Annotated[
        list[str] | None, typer.Option(help="A shipped mix's name, or a path: what it makes of this. Repeatable.")
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option(help="name@version: all as it saw it, and what was said since.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="In place of an id: an exported file, of which the row ...")] = None,
    line: Annotated[int | None, typer.Option(min=1, help="... with this number; the first is 1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, without mixes.")] = False,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """The life of a prompt, trajectory or pair: where it is from, what speaks against it, and where it went."""
    from dataengine.explain import explain as tell
    from dataengine.explain import explained
    from dataengine.shipped import load_mix
    from warehouse.exported import find_row
    from warehouse.store import Warehouse

    if (id is None) == (file is None) or (file is None) != (line is None) or (as_json and mix):
        raise ConfigError("give an id, or --file and --line; --json goes with either, and without --mix")
    if file is not None and line is not None:
        id, snapshot = find_row(Warehouse.open(warehouse).path, file, line, snapshot)
    assert id is not None
    if as_json:
        say(json.dumps(explained(warehouse, id, snapshot=snapshot), indent=2).replace("\x7f", "\\u007f"))
    else:
        say(tell(warehouse, id, [load_mix(m) for m in mix or []], snapshot=snapshot))


@app.command()
def sql(
    statement: Annotated[str | None, typer.Argument(help="A SELECT; - reads it from standard input.")] = None,
    name: Annotated[str | None, typer.Option(help="A shipped question instead.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="The shipped questions, tables and views.")] = False,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    at: Annotated[
        str | None, typer.Option(help="A snapshot (name@version or name@tag) or a time: the tables as they were.")
    ] = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Ask the warehouse in DuckDB's SQL. Reads only."""
    from dataengine.output import list_queries, write_relation
    from warehouse.sql import named_query, query

    if show_list:
        say(list_queries())
        return
    if (statement is None) == (name is None):
        raise ConfigError('give a statement or --name: dataengine sql "SELECT * FROM funnel"; --list shows names')
    text = named_query(name) if name else (sys.stdin.read() if statement == "-" else str(statement))
    write_relation(query(warehouse, text, at=at), form, sys.stdout)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON, TSV or Parquet; also .gz")],
    kind: Annotated[str, typer.Option("--as", help="prompts, trajectories, pairs or reviews.")],
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    layout: LayoutOption = None,
    mapping: MapOption = None,
    source: Annotated[str | None, typer.Option(help="The source's name; default: the file's.")] = None,
    domain: Annotated[str | None, typer.Option()] = None,
    language: Annotated[str | None, typer.Option()] = None,
    verifier: Annotated[
        str | None, typer.Option(help="math, choice, exact ...; default: by the answer's form.")
    ] = None,
    license: Annotated[str | None, typer.Option()] = None,
    fill: Annotated[
        list[str] | None, typer.Option(help="name=text puts the text where {{name}} stands. Repeatable.")
    ] = None,
    stage: Annotated[str, typer.Option(help="For trajectories and pairs.")] = "reasoning",
    policy: Annotated[
        str, typer.Option(help="For trajectories and pairs: who wrote them, model@revision.")
    ] = "imported@unknown",
    max_rows: Annotated[int | None, typer.Option(min=1, help="For trajectories: at most so many, by hash.")] = None,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with", help="For trajectories and pairs: checks they are given, separated by commas; features."
        ),
    ] = None,
) -> None:
    """Take prompts, trajectories, pairs of them, or reviews of either from a file."""
    from dataengine.importing import import_file
    from schemas.recipe import FileSpec

    spec = FileSpec(
        path=str(file), name=source, layout=layout, map=_mapping(mapping), domain=domain, language=language,
        verifier=verifier, license=license, fill=_mapping(fill, "--fill {}: write placeholder=text, such as name=Ada"),
    )  # fmt: skip
    if with_ is None:
        with_ = "features" if kind in ("trajectories", "pairs") else ""
    checks = [name.strip() for name in with_.split(",") if name.strip()]
    done = import_file(warehouse, spec, kind, stage=stage, policy=policy, checks=checks, max_rows=max_rows)
    _say_notes(done.notes)
    say(done.line)
    for check, outcomes in done.checked.added.items():
        told = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(outcomes.items()))
        say(f"{check}: {sum(outcomes.values()):,} verdicts ({told})")
    raise typer.Exit(1 if done.notes or done.checked.errors else 0)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON or Parquet; also .gz")],
    with_: Annotated[str, typer.Option("--with", help="Checks, separated by commas: math,language_mix")],
    out: Annotated[Path, typer.Option(help="JSONL: the input lines with their verdicts.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="check.setting=value, such as length.max_chars=4000")
    ] = None,
    mapping: MapOption = None,
    layout: LayoutOption = None,
) -> None:
    """Run checks over anybody's file; no warehouse is needed."""
    from dataengine.check_file import check_file

    done = check_file(
        file, with_.split(","), out, settings=settings or [], mapping=_mapping(mapping), layout=layout
    )  # fmt: skip
    _say_notes(done.notes)
    for line in done.lines:
        say(line)
    raise typer.Exit(1 if done.notes or done.errors or not done.balanced else 0)


@app.command("make-tests")
def make_tests(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON or Parquet; also .gz")],
    out: Annotated[Path, typer.Option(help="JSONL: the input lines with their tests.")],
    seeds: Annotated[int, typer.Option(min=1, help="Inputs of each generator.")] = 20,
    most: Annotated[int, typer.Option(min=1, help="Tests of a problem that has incorrect submissions.")] = 20,
    workers: Annotated[int | None, typer.Option(min=1, help="Problems at once; default: one for each core.")] = None,
    mapping: MapOption = None,
) -> None:
    """Make tests for code prompts from generators and submissions."""
    from dataengine.make_tests import make_tests_file

    done = make_tests_file(file, out, seeds=seeds, most=most, workers=workers, mapping=_mapping(mapping))
    _say_notes(done.notes)
    for line in done.lines:
        say(line)
    raise typer.Exit(1 if done.unreadable or done.errors or not done.balanced else 0)


@judge_app.command("calibrate")
def judge_calibrate(
    judge: Annotated[str, typer.Argument(help="One of the recipe's judges.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a path.")],
    settings: Annotated[list[str] | None, typer.Argument(help="key=value, such as judges.judge.votes=3")] = None,
    on: Annotated[Path | None, typer.Option(help="Labelled cases: prompt, response, reference, label.")] = None,
    on_reviews: Annotated[bool, typer.Option("--on-reviews", help="What people approved or rejected.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSONL: what the judge said of each case.")] = None,
    mapping: MapOption = None,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """Ask a judge about cases whose verdict is known, and store how far it agrees."""
    from dataengine.judge.calibrating import calibrate_judge
    from dataengine.shipped import load_recipe

    if (on is None) != on_reviews:
        raise ConfigError("give either --on FILE or --on-reviews")
    notes: list[str] = []
    report = calibrate_judge(
        load_recipe(recipe, settings or []), judge, warehouse, on=on, mapping=_mapping(mapping), notes=notes, out=out
    )
    _say_notes(notes)
    say(report.text())
    raise typer.Exit(1 if notes else 0)


@app.command()
def compact(warehouse: WarehouseOption = DEFAULT_WAREHOUSE) -> None:
    """Join small files, refresh warehouse.duckdb."""
    from warehouse.connect import refresh_duckdb_file
    from warehouse.store import Warehouse

    opened = Warehouse.open(warehouse)
    for table, (before, after) in opened.compact().items():
        say(f"{table:<13} {before:>5} -> {after} files")
    say(f"refreshed {refresh_duckdb_file(opened)}")


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this it is only listed.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Newest versions of each snapshot; older ones go unless tagged or trained on."),
    ] = None,
    history: Annotated[int, typer.Option(min=1, help="Days that `sql --at TIME` reaches back.")] = 7,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of checkpoints whose snapshots stay, beside the warehouse's own. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
) -> None:
    """List what nobody needs any more, and remove it if told to."""
    from datetime import timedelta

    from dataengine.output import describe_garbage
    from warehouse.garbage import collect

    days = timedelta(days=history)
    found = collect(warehouse, keep=keep, history=days, checkpoints=checkpoints or [], delete=delete)
    say(json.dumps(found.as_json(), indent=2) if as_json else describe_garbage(found, delete))
    for note in found.notes:
        say(note, err=True)
    raise typer.Exit(1 if found.notes else 0)


@app.command()
def doctor(warehouse: WarehouseOption = DEFAULT_WAREHOUSE) -> None:
    """Say what is missing here or wrong in the warehouse."""
    from dataengine.doctor import examine

    findings = examine(warehouse)
    for finding in findings:
        say(finding.text)
    raise typer.Exit(0 if all(f.good for f in findings) else 1)


@app.command()
def dashboard(
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    port: Annotated[int, typer.Option(help="Where the browser finds it.")] = 8501,
    address: AddressOption = "localhost",
    user: UserOption = None,
    access: AccessOption = None,
    secrets: SecretsOption = None,
) -> None:
    """Look at a warehouse in the browser. Ctrl-C ends it."""
    from dataengine.apps import open_dashboard

    raise typer.Exit(open_dashboard(warehouse, address=address, port=port, user=user, access=access, secrets=secrets))


@app.command()
def review(
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    queues: Annotated[
        list[Path] | None,
        typer.Option(help="A queue's YAML file, beside those shipped and those in the warehouse. Repeatable."),
    ] = None,
    port: Annotated[int, typer.Option(help="Where the browser finds it.")] = 8502,
    address: AddressOption = "localhost",
    user: UserOption = None,
    access: AccessOption = None,
    secrets: SecretsOption = None,
) -> None:
    """Let people look at what waits for them, in the browser. Ctrl-C ends it, and keeps what they said."""
    from dataengine.apps import open_review
    from dataengine.review_settling import Settler
    from warehouse.store import Warehouse

    settler = Settler(Warehouse.open(warehouse))
    try:
        code = open_review(
            warehouse, queues=queues or [], address=address, port=port, user=user, access=access, secrets=secrets,
            tick=settler.tick,
        )  # fmt: skip
        settler.finish()
    finally:
        settler.close()
    raise typer.Exit(code)


def _mapping(
    pairs: list[str] | None, hint: str = "--map {}: write field=column, such as prompt=question"
) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for pair in pairs or []:
        field, equals, column = pair.partition("=")
        if not equals:
            raise ConfigError(hint.format(pair))
        mapping[field] = column
    return mapping


def _say_notes(notes: list[str]) -> None:
    for note in first_of(notes):
        say(note, err=True)


# Commands that write nothing before their end.
_WHOLE = {"check", "judge", "make-tests", "mix"}
_KEPT = "what was finished is kept; the same command goes on from there"


def _terminated(number: int, frame: FrameType | None) -> None:
    # In the background of a script Ctrl-C is ignored, and so would be a signal that is raised in its place.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """The console script: turns errors of users into one line and an exit code."""
    # A scheduler that ends a job is answered as Ctrl-C is: what was finished is kept.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with interruptible():
            app(standalone_mode=True)
    except UserError as e:
        say(f"{type(e).__name__}: {e}", err=True)
        sys.exit(2)
    except OSError as e:
        from warehouse.writing import refusal

        refused = refusal(e)
        if refused is None:
            raise
        say(f"{type(e).__name__}: {f'{e.filename}: ' if e.filename else ''}{refused}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as e:
        # Typer has turned Ctrl-C into exit code 130, without a word.
        if isinstance(e, SystemExit) and e.code != 130:
            raise
        kept = "nothing was written" if {*sys.argv[1:2]} & _WHOLE else _KEPT
        print(f"interrupted: {kept}", file=sys.stderr)
        sys.exit(130)
    finally:
        # The work is over and its exit code is known: a signal that comes late must not take its place.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
