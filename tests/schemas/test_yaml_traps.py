"""What YAML reads otherwise than it was meant is refused in mixes, with what to write."""

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.mix import MixFile
from schemas.yaml_file import load_yaml

MIX = "mix: m\nsources:\n  - stage: reasoning\n    require: [format]\n"


def told(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_yaml(path, MixFile, overrides)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("validaton: 0.1", "m.yaml:5: validaton is no setting here; did you mean validation? there are: mix, descr"),
        ("    target: {row: 3}", "m.yaml:5: sources.0.target.row is no setting here; did you mean rows? there are: r"),
        ("    zzz: 3", "m.yaml:5: sources.0.zzz is no setting here; there are: max_rows, "),
        ("validation: '0.5'", "m.yaml:5: validation is '0.5': input should be a valid number; that is a text to YAML: "
         "write 0.5, without quotes (share"),
        ("validation: 1e-2", "m.yaml:5: validation is '1e-2': input should be a valid number; that is a text to YAML: "
         "write 0.01, without quotes (share"),
        ("validation: yes", "m.yaml:5: validation is True: input should be a valid number (share"),
        ("validation: 5%", "m.yaml:5: validation is '5%': input should be a valid number (share"),
        ("    max_rows: '7'", "m.yaml:5: sources.0.max_rows is '7': input should be a valid integer; that is a text to "
         "YAML: write 7, without quotes (at"),
        ("    max_rows: 7.0", "m.yaml:5: sources.0.max_rows is 7.0: input should be a valid integer; write 7 (at"),
        ("    max_rows: true", "m.yaml:5: sources.0.max_rows is True: input should be a valid integer (at"),
        ("    max_rows: 010", "m.yaml:5: 010 is 8 to YAML: write the number that is meant in decimals, or a text in "),
        ("    max_rows: 1:30", "m.yaml:5: 1:30 is 90 to YAML: write the number that is meant in decimals, or a text"),
        ("    target: {rows: 1.5}", "m.yaml:5: sources.0.target.rows is 1.5: input should be a valid integer"),
        ("    target: {rows: '1'}", "m.yaml:5: sources.0.target.rows is '1': input should be a valid integer; that"),
        ("    other_prompts: 'no'", "m.yaml:5: sources.0.other_prompts is 'no': input should be a valid boolean ("),
        ("    not_failed: [no]", "m.yaml:5: sources.0.not_failed.0 is False: input should be a valid string; YAML "
         "reads yes, no, on and off as true and false: put it in quotes"),
        ("salt: 7", "m.yaml:5: salt is 7: input should be a valid string; put it in quotes (changes"),
        ("scale: inf", "m.yaml:5: scale is 'inf': input should be a valid integer (for targets"),
    ],
)  # fmt: skip
def test_a_mix_takes_nothing_for_what_it_is_not(tmp_path: Path, line: str, message: str) -> None:
    assert told(tmp_path, f"{MIX}{line}\n").startswith(message)


def test_overrides_are_read_in_the_same_way(tmp_path: Path) -> None:
    assert told(tmp_path, MIX, "sources.0.max_rows=010").startswith("sources.0.max_rows=010: 010 is 8 to YAML: ")
    assert told(tmp_path, MIX, "validaton=0.1").startswith(
        "m.yaml: validaton=0.1: validaton is no setting here; did you"
    )
    assert told(tmp_path, MIX, "sources=&a [*a]").startswith("sources=&a [*a]: ")


@pytest.mark.parametrize("line", ["validation: .5", "seed: 1_000", "seed: 0", "salt: '010'", "seed: 0x10", "seed: -0"])
def test_what_is_read_as_it_was_meant_is_taken(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"{MIX}{line}\n", encoding="utf-8")
    mix = load_yaml(path, MixFile).root
    assert (mix.validation, mix.seed, mix.salt) in [
        (0.5, 0, ""),
        (0.0, 1000, ""),
        (0, 0, ""),
        (0, 0, "010"),
        (0, 16, ""),
    ]


@pytest.mark.parametrize("rows", ["samples", "labels"])
def test_a_source_says_which_replies(tmp_path: Path, rows: str) -> None:
    asks = {"samples": "require: [a]", "labels": "check: a"}[rows]
    text = f"mix: m\nrows: {rows}\nsources:\n  - {asks}\n"
    assert told(tmp_path, text) == (
        "m.yaml:4: sources.0: say which replies: name a `stage`, a condition in `where`, or both"
    )
    (tmp_path / "m.yaml").write_text(f"{text}    where: domain = 'math'\n", encoding="utf-8")
    (source,) = load_yaml(tmp_path / "m.yaml", MixFile).root.sources
    assert source.model_dump()["stage"] is None
