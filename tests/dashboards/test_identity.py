"""Who is let in, over real connections: the user of one's own machine, and whom a proxy names."""

import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("streamlit")

from websockets.exceptions import InvalidStatus

from tests.dashboards.serving import Served, served, visit
from warehouse.store import Warehouse

# Pages are run many times: some minutes in all.
pytestmark = pytest.mark.slow

SECRET = "a secret of at least sixteen characters"
ACCESS = """\
identity: header
people:
  ann: [annotator, lead]
  O'Brien "the" <b>bold</b>: [annotator]
  Jos\u00e9: [adjudicator]
default_roles: []
"""


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("identity") / "warehouse"
    Warehouse.open(path, create=True)
    return path


@pytest.fixture(scope="module")
def local(warehouse: Path) -> Iterator[Served]:
    with served(warehouse, user="ann") as app:
        yield app


@pytest.fixture(scope="module")
def proxied(warehouse: Path) -> Iterator[Served]:
    file = warehouse.parent / "access.yaml"
    file.write_text(ACCESS)
    with served(warehouse, access=file, DATAENGINE_PROXY_SECRET=SECRET) as app:
        yield app


def by_proxy(name: str | bytes, secret: str = SECRET) -> list[tuple[str, str]]:
    sent = name.encode() if isinstance(name, str) else name
    # As the bytes are sent: the client writes Latin-1.
    return [("X-Forwarded-User", sent.decode("latin-1")), ("X-Dataengine-Secret", secret)]


def test_the_user_of_ones_own_machine_is_let_in_with_a_warning(local: Served) -> None:
    page = visit(local.port)
    assert "page of <ann>: annotator, adjudicator, lead" in page.texts
    assert "for leads only" in page.texts
    assert page.warnings == ["Nobody signed in: whoever uses this machine is this person."]
    assert local.said == f"review: http://localhost:{local.port} as ann, without sign-in (Ctrl-C ends it)\n"


def test_a_page_elsewhere_that_has_its_name_lead_here_is_refused(local: Served) -> None:
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        visit(local.port, host="rebound.example.org")


def test_headers_make_nobody_of_the_local_user(local: Served) -> None:
    assert "page of <ann>: annotator, adjudicator, lead" in visit(local.port, by_proxy("ben")).texts


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "unknown"])
def test_somebody_from_another_machine_is_not_the_local_user(local: Served, address: str) -> None:
    page = visit(local.port, [("X-Forwarded-For", address)])
    assert not [text for text in page.texts if "page of" in text]
    assert page.errors == ["This app is for the user of the machine that it runs on."]


def test_whom_the_proxy_names_is_let_in_by_its_secret(proxied: Served) -> None:
    page = visit(proxied.port, by_proxy("ann"))
    assert "page of <ann>: annotator, lead" in page.texts
    assert not page.errors and not page.warnings


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-User", "ann")],
        by_proxy("ann", ""),
        by_proxy("ann", SECRET[:-1]),
        by_proxy("ann", SECRET + "x"),
        by_proxy("ann", SECRET.upper()),
        by_proxy("ann", "\u00e9" * 20),
        [*by_proxy("ann"), ("X-Dataengine-Secret", "another")],
        [("X-Dataengine-Secret", "another"), *by_proxy("ann")],
    ],
)
def test_without_the_secret_nobody_is_let_in(proxied: Served, headers: list[tuple[str, str]]) -> None:
    page = visit(proxied.port, headers)
    assert page.texts == []
    assert page.errors == ["You came past the proxy that signs people in: use its address."]


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Dataengine-Secret", SECRET)],
        by_proxy(""),
        by_proxy("  "),
        [*by_proxy("ann"), ("X-Forwarded-User", "ben")],
        [("X-Dataengine-Secret", SECRET), ("X-Forwarded-Email", "ann")],
    ],
)
def test_without_one_name_nobody_is_let_in(proxied: Served, headers: list[tuple[str, str]]) -> None:
    page = visit(proxied.port, headers)
    assert page.texts == []
    assert page.errors == ["The proxy did not say who you are: sign in there."]


def test_who_has_no_role_is_refused(proxied: Served) -> None:
    page = visit(proxied.port, by_proxy("mallory"))
    assert page.texts == ["mallory"]
    assert page.errors == ["is signed in and has no role here: ask those who keep the access file."]


@pytest.mark.parametrize("name", ["gold", "x" * 300, "a\u202eb", b"\xff\xfe"])
def test_what_is_no_name_is_refused(proxied: Served, name: str | bytes) -> None:
    page = visit(proxied.port, by_proxy(name))
    assert not [text for text in page.texts if "page of" in text]
    assert len(page.errors) == 1
    assert all(len(text) <= 103 for text in page.texts)


def test_a_name_with_quotes_and_tags_is_text(proxied: Served) -> None:
    page = visit(proxied.port, by_proxy("""O'Brien "the" <b>bold</b>"""))
    assert """page of <O'Brien "the" <b>bold</b>>: annotator""" in page.texts


@pytest.mark.parametrize("name", ["Jos\u00e9", "Jose\u0301", " Jos\u00e9 "])
def test_a_name_is_one_person_however_the_proxy_composes_it(proxied: Served, name: str) -> None:
    assert "page of <Jos\u00e9>: adjudicator" in visit(proxied.port, by_proxy(name)).texts


def test_a_page_for_leads_ends_for_others(proxied: Served) -> None:
    page = visit(proxied.port, by_proxy("Jos\u00e9"))
    assert page.errors == ["This page is for people with the role lead."]
    assert "for leads only" not in page.texts


def test_nobody_comes_into_the_session_of_another(proxied: Served) -> None:
    first = visit(proxied.port, by_proxy("ann"))
    assert "drafts: ann" in first.texts
    back = visit(proxied.port, by_proxy("ann"), session=first.session)
    assert back.session == first.session
    other = visit(proxied.port, by_proxy("Jos\u00e9"), session=first.session)
    assert "drafts: Jos\u00e9" in other.texts


@pytest.mark.parametrize("told", [None, "", "{}", '{"access": {"identity": "nobody"}}'])
def test_an_app_that_was_not_told_who_may_use_it_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, told: str | None
) -> None:
    from streamlit.testing.v1 import AppTest

    monkeypatch.delenv("DATAENGINE_IDENTITY", raising=False)
    if told is not None:
        monkeypatch.setenv("DATAENGINE_IDENTITY", told)
    # AppTest puts the page's script in its place and leaves it there.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    page = AppTest.from_file(Path(__file__).with_name("identity_page.py"), default_timeout=60).run()
    assert [e.value for e in page.error] == [
        "This app was started without saying who may use it: start it by `dataengine`."
    ]
    assert not page.text and not page.exception


def test_ctrl_c_ends_the_app_in_good_order(warehouse: Path) -> None:
    with served(warehouse, user="ann") as app:
        visit(app.port)
        code, rest = app.end(signal.SIGINT)
        assert code == 0
        assert rest.endswith("review: stopped\n")
        assert refuses(app.port)


def test_an_app_ends_with_the_process_that_started_it(warehouse: Path) -> None:
    with served(warehouse, user="ann") as app:
        app.process.kill()
        # The pipe ends when the last process that writes to it does.
        app.process.communicate(timeout=30)
        assert refuses(app.port)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
