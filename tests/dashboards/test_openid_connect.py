"""Signing in with OpenID Connect in a real browser, at a provider on this machine."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("authlib")
pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page

from tests.dashboards.oidc_stand_in import CLIENT, CLIENT_SECRET, Provider
from tests.dashboards.serving import Served, free_port, served, visit
from warehouse.store import Warehouse

pytestmark = pytest.mark.slow
PEOPLE: dict[str, dict[str, Any]] = {
    "1": {"email": "ann@example.org", "email_verified": True, "name": "Ann"},
    "2": {"email": "mallory@example.org", "email_verified": True},
    "3": {"email": "ann@example.org", "email_verified": False},
    "4": {"name": "no address"},
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(free_port(), PEOPLE) as there:
        yield there


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("oidc")
    Warehouse.open(folder / "warehouse", create=True)
    port = free_port()
    (folder / "access.yaml").write_text(
        "identity: oidc\npeople: {ann@example.org: [annotator, lead]}\ndefault_roles: []\n"
    )
    (folder / "secrets.toml").write_text(
        f"""[auth]
redirect_uri = "http://localhost:{port}/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "{CLIENT}"
client_secret = "{CLIENT_SECRET}"
server_metadata_url = "{provider.url}/.well-known/openid-configuration"
"""
    )
    with served(
        folder / "warehouse", access=folder / "access.yaml", secrets=folder / "secrets.toml", port=port
    ) as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def sign_in(page: Page, app: Served, person: int) -> None:
    page.goto(app.url)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name=f"person {person}").click()


def test_nothing_is_shown_before_sign_in(app: Served) -> None:
    page = visit(app.port)
    assert page.buttons == ["Sign in"]
    assert page.texts == ["Sign in to go on."]


def test_a_header_signs_nobody_in(app: Served) -> None:
    assert visit(app.port, [("X-Forwarded-User", "ann@example.org")]).buttons == ["Sign in"]


def test_who_signs_in_is_the_person_of_the_access_file_until_they_sign_out(
    app: Served, page: Page, provider: Provider
) -> None:
    sign_in(page, app, 0)
    page.get_by_text("page of <ann@example.org>: annotator, lead").wait_for()
    page.get_by_text("for leads only").wait_for()
    page.reload()
    page.get_by_text("page of <ann@example.org>: annotator, lead").wait_for()
    assert provider.granted[-1] == "1"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.get_by_text("page of").count() == 0


@pytest.mark.parametrize(
    ("person", "said"),
    [
        (1, "is signed in and has no role here: ask those who keep the access file."),
        (2, "is an address that your provider has not verified."),
        (3, "Your provider does not say your email: the access file may name another claim."),
    ],
)
def test_who_may_not_come_in_is_told_why_and_can_sign_out(app: Served, page: Page, person: int, said: str) -> None:
    sign_in(page, app, person)
    page.get_by_text(said).wait_for()
    assert page.get_by_text("page of").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()


def test_a_forged_cookie_signs_nobody_in(app: Served, page: Page) -> None:
    sign_in(page, app, 0)
    page.get_by_text("page of <ann@example.org>").wait_for()
    cookies = page.context.cookies()
    (mine,) = [cookie for cookie in cookies if cookie["name"] == "_streamlit_user"]
    assert mine["httpOnly"]
    page.context.clear_cookies(name="_streamlit_user")
    page.context.add_cookies([mine | {"value": mine["value"][:-4] + "AAAA"}])
    page.goto(app.url)
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.get_by_text("page of").count() == 0
