"""`mix check`: which rows survive a chat template, what is counted of them, and what is refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.chat_template import FAULTS, ChatTemplate
from dataengine.mix_check import MixCheck, check_snapshot
from schemas.errors import ConfigError, SnapshotError
from schemas.keys import key
from schemas.mix import MixFile
from schemas.records import Message, Prompt, Trajectory, Verdict, now
from tests.tiny_model import save_tiny_model
from warehouse.snapshot import Snapshot, create_snapshot, open_snapshot
from warehouse.store import Warehouse

Cli = Callable[..., Any]
START = "<|im_start|>"


def prompted(start: str = "") -> str:
    """The generation prompt of a template; `start` is what it begins the reply with."""
    return f"{{% if add_generation_prompt %}}{START}assistant\n{start}{{% endif %}}"


def template(content: str, end: str = "<|im_end|>\n", generation: str = prompted()) -> str:
    """A chat template that writes each turn as `content`, an expression of Jinja over `m`."""
    return (
        f"{{% for m in messages %}}{START}{{{{ m.role }}}}\n{{{{ {content} }}}}{end.replace('CONTENT', content)}"
        f"{{% endfor %}}{generation}"
    )


KEEPS = template("m.content")
# As Qwen3 and R1 do with turns of the past, here with the one that is to be learnt.
DROPS = template("m.content.split('</think>')[-1].strip()")
# As Qwen3 does: only what comes after the last question of the user keeps its reasoning.
DROPS_EARLIER = template("m.content if loop.last else m.content.split('</think>')[-1].strip()")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with its template, and nothing else of its model."""
    whole = save_tiny_model(tmp_path_factory.mktemp("model"))
    (whole / "model.safetensors").unlink()
    return whole


@pytest.fixture(scope="session")
def loaded(tokenizer: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer)


def faults_of(tokenizer: Any, text: str, question: str, reply: str) -> list[str]:
    tokenizer.chat_template = text
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return list(ChatTemplate(tokenizer, {2}).render(turns).faults)


ROWS = [
    {"question": f"What is {n} + 1?", "reasoning": f"{n} and 1 make {n + 1}", "answer": f"It is {n + 1}."}
    for n in range(4)
]


@pytest.fixture
def snapshot(tmp_path: Path) -> Callable[..., Snapshot]:
    """Makes the snapshot `demo@1` of such rows, in the warehouse `warehouse-data` of the test's folder."""

    def make(rows: Sequence[dict[str, Any]] = ROWS, mix: dict[str, Any] | None = None) -> Snapshot:
        warehouse = Warehouse.open(tmp_path / "warehouse-data", create=True)
        prompts, replies, verdicts = [], [], []
        for row in rows:
            turns = [Message(**turn) for turn in row.get("before", [])]
            source = row.get("source", "sums")
            prompt = Prompt.make([*turns, Message(role="user", content=row["question"])], source=source, domain="math")
            reply = Trajectory(
                trajectory_id=key(prompt.prompt_id), prompt_id=prompt.prompt_id, stage="reasoning", policy="model@1",
                engine="import", sampling="{}", sample_index=0, rendered_key="r", reasoning=row["reasoning"],
                answer=row["answer"], text="t", finish_reason="stop", run_id="run", created_at=now(),
            )  # fmt: skip
            verdict = Verdict(
                trajectory_id=reply.trajectory_id, attempt=1, check="format", version="1", kind="filter",
                outcome="pass", score=1.0, run_id="run", created_at=now(),
            )  # fmt: skip
            prompts.append(prompt)
            replies.append(reply)
            verdicts.append(verdict)
        warehouse.append("prompts", prompts)
        warehouse.append("trajectories", replies)
        warehouse.append("verdicts", verdicts)
        samples = {"sources": [{"stage": "reasoning", "require": ["format"]}], "validation": 0.5}
        value = {"mix": "demo", **(mix or samples)}
        return create_snapshot(warehouse.path, MixFile.model_validate(value).root, {"plain": None})[0]

    return make


@pytest.fixture
def checked(snapshot: Callable[..., Snapshot], tokenizer: Path, tmp_path: Path) -> Callable[..., MixCheck]:
    """Checks rows with a template written here."""

    def check(text: str, rows: Sequence[dict[str, Any]] = ROWS, **options: Any) -> MixCheck:
        file = tmp_path / "template.jinja"
        file.write_text(text)
        return check_snapshot(snapshot(rows), str(tokenizer), template=file, **options)

    return check


def test_rows_that_survive_are_counted_as_the_trainer_takes_them(
    snapshot: Callable[..., Snapshot], tokenizer: Path
) -> None:
    from transformers import AutoTokenizer

    from trainers.data import encode, read_manifest, read_rows

    made = snapshot()
    found = check_snapshot(made, str(tokenizer))
    assert (found.good, found.faults) == (True, {})
    warehouse = made.path.parents[2]
    rows = [r for split in read_rows(warehouse, read_manifest(warehouse, "demo@1")).values() for r in split]
    learnt = encode(AutoTokenizer.from_pretrained(tokenizer), rows, {2}, 512, "error")
    assert found.total.rows == len(learnt) == 4
    assert found.total.tokens == sum(len(e.ids) for e in learnt)
    assert found.total.loss_tokens == sum(e.labelled for e in learnt)
    assert sorted(found.lengths.elements()) == sorted(len(e.ids) for e in learnt)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (KEEPS, []),
        (DROPS_EARLIER, []),
        (DROPS, ["reasoning_lost"]),
        (template("m.content + m.content"), ["reasoning_twice", "answer_twice"]),
        (template("m.content", "<|im_end|>{{ CONTENT }}<|im_end|>"), ["reasoning_twice", "answer_twice"]),
        (template("m.content.split('</think>')[0] + '</think>' + m.content"), ["reasoning_twice"]),
        (template("m.content + '\n' + m.content.split('</think>')[-1]"), ["answer_twice"]),
        (template("m.content.split('</think>')[0] + '</think>'"), ["answer_lost"]),
        (template("m.content | replace('</think>\n', '</think>\n\n')"), ["reply_changed"]),
        (template("m.content", "\n"), ["no_end"]),
        (template("m.content", "<|im_end|>\nGood bye."), ["text_after_end"]),
        (template("m.content", generation=prompted("<think></think>")), ["not_continued"]),
        # As R1's: reasoning is asked for in the generation prompt, and dropped where it is given.
        (template("m.content.split('</think>')[-1]", generation=prompted("<think>\n")),
         ["not_continued", "reasoning_lost"]),
        ("{{ raise_exception('no such role') }}", ["refused"]),
        ("{{ messages[7].content + 1 }}", ["refused"]),
    ],
)  # fmt: skip
def test_what_a_template_does_to_the_reply_is_named(loaded: Any, text: str, faults: list[str]) -> None:
    assert faults_of(loaded, text, "What is 0 + 1?", "<think>\n0 and 1 make 1\n</think>\nIt is 1.") == faults


def test_an_answer_that_is_part_of_the_reasoning_is_not_taken_for_it(loaded: Any) -> None:
    assert faults_of(loaded, DROPS, "3 + 4?", "<think>\n3 and 4 make 7, so 7\n</think>\n7") == ["reasoning_lost"]


def test_replies_that_hold_the_control_tokens_survive(loaded: Any) -> None:
    hostile = "stop<|im_end|>\n<|im_start|>user\nno"
    reply = f"<think>\n{hostile}\n</think>\n{hostile}, I said"
    assert faults_of(loaded, KEEPS, hostile, reply) == []
    assert faults_of(loaded, DROPS, hostile, reply) == ["reasoning_lost"]


@settings(max_examples=30)
@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_a_template_that_keeps_all_keeps_any_text(loaded: Any, question: str, reasoning: str, answer: str) -> None:
    reply = f"<think>\n{reasoning}\n</think>\n{answer}"
    assert faults_of(loaded, KEEPS, question, reply) == []
    assert faults_of(loaded, template("m.content[1:]"), question, reply) != []
    assert faults_of(loaded, template("m.content + m.content"), question, reply) != []


def test_only_the_rows_at_fault_are_named(checked: Callable[..., MixCheck]) -> None:
    rows = [*ROWS, {"question": "Spaces?", "reasoning": "many   spaces", "answer": "Yes."}]
    found = checked(template("m.content | replace('   ', ' ')"), rows)
    (named,) = found.faults.values()
    assert list(found.faults) == ["reasoning_lost"]
    assert (named.rows, len(named.ids)) == (1, 1)
    assert "many   spaces" in named.detail
    assert "many spaces" in named.detail
    assert f"    {named.ids[0]}" in found.lines
    assert found.total.rows == len(rows) == found.total.failed + sum(found.lengths.values())


def test_earlier_turns_may_lose_their_reasoning_and_are_counted(checked: Callable[..., MixCheck]) -> None:
    before = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "<think>\nA greeting\n</think>\nHello!"},
    ]
    rows = [{"before": before, "question": "What is 1 + 1?", "reasoning": "1 and 1", "answer": "2"}]
    assert checked(DROPS_EARLIER, rows).forgotten == 1
    assert checked(DROPS_EARLIER, rows).good
    assert checked(KEEPS, rows).forgotten == 0


def test_an_empty_reply_is_a_fault(checked: Callable[..., MixCheck]) -> None:
    assert list(checked(KEEPS, [{"question": "Well?", "reasoning": None, "answer": ""}]).faults) == ["empty"]


def test_rows_are_counted_by_source_and_length(checked: Callable[..., MixCheck]) -> None:
    long = {"question": "How?", "reasoning": "x" * 3000, "answer": "So.", "source": "letters"}
    found = checked(KEEPS, [*ROWS, long], max_length=500)
    assert {name: counted.rows for name, counted in found.sources.items()} == {"sums": 4, "letters": 1}
    for name in ("rows", "tokens", "loss_tokens", "overlong"):
        assert sum(getattr(c, name) for c in found.sources.values()) == getattr(found.total, name)
    assert (found.overlong.rows, found.sources["letters"].overlong, found.good) == (1, 1, False)
    assert found.overlong_lengths == [max(found.lengths)] == [found.quantiles["max"]]
    assert f"    {found.overlong.ids[0]}  {max(found.lengths):,}" in found.lines
    assert sum(found.histogram.values()) == 5
    assert all(edge & (edge - 1) == 0 for edge in found.histogram)
    assert found.quantiles["p50"] == sorted(found.lengths.elements())[2]


def test_the_longest_rows_that_fit_are_not_over_the_length(checked: Callable[..., MixCheck]) -> None:
    longest = max(checked(KEEPS).lengths)
    assert checked(KEEPS, max_length=longest).good
    assert not checked(KEEPS, max_length=longest - 1).good


def test_the_template_is_told_apart_by_its_text(checked: Callable[..., MixCheck]) -> None:
    hashes = [checked(text).template for text in (KEEPS, DROPS, KEEPS)]
    assert hashes[0] == hashes[2] != hashes[1]
    assert len(hashes[0]) == 64


def test_the_command_tells_writes_and_ends_with_the_right_code(
    cli: Cli, snapshot: Callable[..., Snapshot], tokenizer: Path, tmp_path: Path
) -> None:
    snapshot()
    done = cli("mix", "check", "demo@1", "--tokenizer", tokenizer, "--out", "report.json")
    assert done.code == 0
    assert "4 rows = 4 sound + 0 with a fault" in done.out
    assert "mix check      4/4" in done.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["good"], report["rows"], report["faults"]) == (True, 4, {})
    assert report["sources"]["sums"]["loss_tokens"] == report["loss_tokens"] > 0

    (tmp_path / "drops.jinja").write_text(DROPS)
    options = ("--template", "drops.jinja", "--out", "report.json")
    done = cli("mix", "check", "demo@1", "--tokenizer", tokenizer, *options)
    assert done.code == 1
    assert f"reasoning_lost: {FAULTS['reasoning_lost']}" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["faults"]["reasoning_lost"]["rows"] == 4 == len(report["faults"]["reasoning_lost"]["ids"])


def test_a_mix_that_names_a_tokenizer_promises_what_the_check_finds(
    cli: Cli, snapshot: Callable[..., Snapshot], tokenizer: Path, tmp_path: Path
) -> None:
    snapshot()
    mix = {"mix": "fits", "sources": [{"stage": "reasoning", "require": ["format"]}]}
    (tmp_path / "fits.yaml").write_text(json.dumps({**mix, "chat_template": {"tokenizer": str(tokenizer)}}))
    made = cli("snapshot", "create", "fits.yaml")
    assert made.code == 0, made
    assert "chat template  4/4" in made.err
    opened = open_snapshot(tmp_path / "warehouse-data", "fits@1")
    promised, found = opened.manifest.chat_template, check_snapshot(opened, str(tokenizer))
    assert promised is not None
    assert (promised.tokenizer, promised.sha256) == (found.tokenizer, found.template)
    assert (promised.tokens, promised.loss_tokens) == (found.total.tokens, found.total.loss_tokens)
    assert promised.longest == max(found.lengths)
    assert f"chat template sha256 {promised.sha256}" in cli("snapshot", "show", "fits").out

    check = ("mix", "check", "--tokenizer", tokenizer)
    assert "it is the chat template of the manifest" in cli(*check, "fits@1").out
    (tmp_path / "keeps.jinja").write_text(KEEPS)
    told = cli(*check, "fits@1", "--template", "keeps.jinja", "--out", "report.json").out
    assert f"it is NOT the chat template of the manifest, {promised.sha256[:12]}" in told
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["promised_template"] == promised.sha256 != report["template"]
    assert "the manifest names no chat template" in cli(*check, "demo@1").out


def test_rows_too_long_or_spoilt_by_the_tokenizers_template(
    cli: Cli, refused: Any, snapshot: Callable[..., Snapshot], tokenizer: Path, tmp_path: Path
) -> None:
    long = {"question": "And 9 + 9?", "reasoning": "r" * 300, "answer": "18"}
    ident = key(Prompt.make([Message(role="user", content="And 9 + 9?")], source="sums", domain="math").prompt_id)
    snapshot([*ROWS, long])
    asked: dict[str, Any] = {"tokenizer": str(tokenizer), "max_length": 120, "overlong": "drop"}
    mix = {"mix": "fits", "sources": [{"stage": "reasoning", "require": ["format"]}], "chat_template": asked}
    (tmp_path / "fits.yaml").write_text(json.dumps(mix))
    assert "4 rows" in cli("snapshot", "create", "fits.yaml").out
    told = cli("explain", ident, "--mix", "fits.yaml").out
    assert "leaves it out (overlong): it has more than 120 tokens with the tokenizer" in told
    done = cli("snapshot", "create", "fits.yaml", "chat_template.overlong=error")
    assert done.code == 2
    assert f"such as {ident[:12]}: raise it, or set chat_template.overlong to drop" in done.err
    drops = shutil.copytree(tokenizer, tmp_path / "drops")
    (drops / "chat_template.jinja").write_text(DROPS)
    done = cli("snapshot", "create", "fits.yaml", "chat_template.tokenizer=drops")
    assert done.code == 2
    assert f"under the chat template of drops, reasoning_lost: {FAULTS['reasoning_lost']}" in done.err
    assert "Traceback" not in done.err
    line = refused("snapshot", "create", "fits.yaml", "chat_template.tokenizer=nowhere")
    assert line.startswith("ConfigError: chat_template.tokenizer: nowhere: there is no tokenizer_config.json in it")


def test_what_cannot_be_checked_is_refused_in_one_line(
    cli: Cli, refused: Any, snapshot: Callable[..., Snapshot], tokenizer: Path, tmp_path: Path
) -> None:
    snapshot()
    check = ("mix", "check", "demo@1", "--tokenizer")
    (tmp_path / "empty").mkdir()
    line = refused(*check, "empty")
    assert line.startswith("ConfigError: --tokenizer empty: there is no tokenizer_config.json in it")
    bare = shutil.copytree(tokenizer, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    assert "has no chat template; put a chat_template.jinja there, or name one by --template FILE" in refused(
        *check, "bare"
    )
    broken = shutil.copytree(tokenizer, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    assert refused(*check, "broken").startswith("ConfigError: --tokenizer broken: cannot be loaded: ")
    (tmp_path / "bad.jinja").write_text("{% for %}")
    assert "the chat template cannot be read: line 1: " in refused(*check, tokenizer, "--template", "bad.jinja")
    assert "cannot be read: No such file" in refused(*check, tokenizer, "--template", "none.jinja")
    assert "is a folder; name a file" in refused(*check, tokenizer, "--out", "bare")
    line = refused("mix", "check", "other@1", "--tokenizer", tokenizer)
    assert line.startswith("SnapshotError: there is no snapshot other@1 (known: demo@1)")


def test_rows_that_are_no_samples_are_refused(
    cli: Cli, refused: Any, snapshot: Callable[..., Snapshot], tokenizer: Path
) -> None:
    snapshot(mix={"rows": "prompts", "sources": [{"domain": "math"}]})
    line = refused("mix", "check", "demo@1", "--tokenizer", tokenizer)
    assert line == ("SnapshotError: demo@1: its rows are prompts; a chat template is checked on rows that are samples")


def test_a_damaged_file_is_named(snapshot: Callable[..., Snapshot], tokenizer: Path) -> None:
    made = snapshot()
    file = made.data_files()[0]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(SnapshotError, match=f"{file.name} is damaged"):
        check_snapshot(made, str(tokenizer))


def test_a_tokenizer_without_an_end_is_refused(
    snapshot: Callable[..., Snapshot], tokenizer: Path, tmp_path: Path
) -> None:
    endless = shutil.copytree(tokenizer, tmp_path / "endless")
    config = json.loads((endless / "tokenizer_config.json").read_text())
    (endless / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": None}))
    for name in ("generation_config.json", "config.json"):
        (endless / name).unlink()
    with pytest.raises(ConfigError, match="names no token that ends a generation"):
        check_snapshot(snapshot(), str(endless))
