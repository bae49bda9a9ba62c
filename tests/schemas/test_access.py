"""Who may do what, as the access file says it."""

from pathlib import Path

import pytest

from schemas.access import ROLES, Access, Person
from schemas.errors import ConfigError
from schemas.yaml_file import load_yaml


def test_who_is_not_named_has_the_default_roles() -> None:
    access = Access(identity="header", people={"ann": ["lead", "annotator"]})
    assert access.person("ann") == Person("ann", ("annotator", "lead"))
    assert access.person("ben") == Person("ben", ("annotator",))


def test_without_default_roles_only_who_is_named_has_any() -> None:
    access = Access(identity="header", people={"ann": ["annotator"]}, default_roles=[])
    assert access.person("ann").roles == ("annotator",)
    assert access.person("ben").roles == ()


def test_the_user_of_ones_own_machine_may_do_all_unless_the_file_says_otherwise() -> None:
    assert Access().person("ann").roles == ROLES
    assert Access(people={"ann": ["annotator"]}).person("ann").roles == ("annotator",)


def test_one_name_is_one_person_however_it_is_composed() -> None:
    access = Access(identity="header", people={"Jose\u0301": ["lead"]})
    assert access.person(" Jos\u00e9 ") == Person("Jos\u00e9", ("lead",))


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\u202eb", "a\x00b", "gold", "GOLD", " gold "])
def test_what_is_no_name_of_a_person_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        Access().person(name)


@pytest.mark.parametrize("name", ["O'Brien", 'x" OR 1=1 --', "<script>", "王小明", "a" * 100, "ann@example.org"])
def test_any_printable_name_is_a_name(name: str) -> None:
    assert Access().person(name).name == name


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("identity: header\npeople:\n  ann: [boss]\n", 3, "people.ann.0 is 'boss'"),
        ("identity: header\npeople:\n  gold: [lead]\n", 3, "no person's"),
        ("identity: password\n", 1, "identity is 'password'"),
        ("identity: local\nheader: X-User\n", 2, "header is for `identity: header`"),
        ("identity: header\nclaim: sub\n", 2, "claim is for `identity: oidc`"),
        ('identity: header\nheader: "X-User: y"\n', 2, "header is 'X-User: y'"),
        ("identity: header\nsecret: abc\n", 2, "secret is no setting here"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_yaml(file, Access)
    assert str(error.value).startswith(f"{file}:{line if 'is for' not in said else 1}: ")
    assert said in str(error.value)
