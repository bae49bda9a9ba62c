"""Personal data and secrets are found with their place; numbers of calculations and what documentation uses are not."""

import base64
import json
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.checks import Opinion, Sample, load_check
from dataengine.filters.pii import KINDS, PiiCheck, found
from schemas.errors import ConfigError


def ask(text: str, **settings: list[str]) -> Opinion:
    (opinion,) = PiiCheck(**settings)([Sample(text=text)])
    return opinion


def drawn(length: int, letters: str = string.ascii_letters + string.digits, seed: int = 3) -> str:
    return "".join(random.Random(seed).choices(letters, k=length))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# Nothing here is real: numbers are made to fit their check digits, secrets are drawn and put together at run time.
JWT = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': '4711'})}.{drawn(43)}"
PEM = f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{drawn(64)}\n{drawn(64, seed=4)}\n-----END RSA {'PRIVATE'} KEY-----"
SECRET = "qT7#" + "vK2!" + "mZ9x"

FOUND = [
    ("email", "Write to ", "ann.lee+math@uni-bonn.de", " today"),
    ("email", "mailto:", "k.brown@mail.oxfordshire.co.uk", ")"),
    ("email", "邮箱是", "wang.wei88@163.com", "，请联系"),
    ("phone", "Ring ", "+49 170 8832917", "."),
    ("phone", "Ring ", "+49 (0)30 8832917", " (home)"),
    ("phone", "Ring ", "+44-20-7946-3128", " or come"),
    ("phone", "Fax ", "0041 44 668 18 00", ""),
    ("phone", "(", "+33 6 47 81 93 02", ")"),
    ("phone", "Her number is ", "(415) 867-5309", "; ask"),
    ("phone", "Her number is ", "415-867-5309", " (2 pm)"),
    ("phone", "電話: ", "03-4829-1756", ""),
    ("phone", "手机：", "13871620459", "。"),
    ("phone", "Tel. ", "089 4417263", ""),
    ("phone", "telefon: ", "0171/8829341", ""),
    ("card", "It was ", "4485 3716 0942 7134", ", valid"),
    ("card", "It was ", "5274-8136-0942-7137", ""),
    ("card", "It was ", "3728 190463 51840", ""),
    ("card", "my credit card is ", "4485371609427134", ""),
    ("iban", "Pay to ", "DE71 5001 0517 3648 4898 90", " NOW"),
    ("iban", "Pay to ", "FR7630006000011234567890189", "."),
    ("ssn", "My SSN is ", "536-22-8714", "."),
    ("ssn", "Social Security number: ", "536 22 8714", ""),
    ("ip", "from ", "93.184.216.34", ", twice"),
    ("ip", "from ", "2606:2800:220:1:248:1893:25c8:1946", ""),
    ("key", "id = '", "AKIA" + drawn(16, string.ascii_uppercase + "234567"), "'"),
    ("key", "", "ghp_" + drawn(36), ""),
    ("key", "", "github_pat_" + drawn(22) + "_" + drawn(59), " "),
    ("key", "", "glpat-" + drawn(20), "\n"),
    ("key", "", "xoxb-" + drawn(24, string.digits) + "-" + drawn(24), ""),
    ("key", "", "hf_" + drawn(34, string.ascii_letters), ""),
    ("key", "OPENAI_API_KEY=", "sk-proj-" + drawn(48), ""),
    ("key", "", "AIza" + drawn(35), ""),
    ("key", "", "sk_" + "live_" + drawn(24), ""),
    ("private_key", "", PEM, "\n"),
    ("private_key", '"', PEM.replace("\n", "\\n"), '"'),
    ("jwt", "Bearer ", JWT, ""),
    ("password", "password = '", SECRET, "'"),
    ("password", '{"client_secret": "', SECRET, '"}'),
    ("password", "密码：", SECRET, ""),
    ("password", "postgres://app:", SECRET, "@db.fluxmill.io/main"),
]

PASSED_OVER = [
    "",
    "7",
    "The year 2024, the sum 123456789 + 987654321 = 1111111110.",
    "x = 415-867-5309",
    "3.14159265358979323846, 2.718281828459045",
    r"$\frac{1234567890123}{4485371609427134}$ and $10^{12} = 1000000000000$",
    "4485371609427134 is divisible by 7",
    "12 34 56 78 90 12 34 56 78 90",
    "1234 5678 9012 3456 7890",
    "0041 44 668 18 00\n0078 12 90 45 31",
    "5 +491708832917 = 491708832922",
    "472547338\n+491708832917",
    "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597",
    "01-02-2003, 2024-01-15 10:30:45, ISBN 978-3-16-148410-0, 0-306-40615-2",
    "The population is 1 380 004 385 people; phones cost 1,000,000,000 in all.",
    "536-22-8714",
    "Call 1-800-273-8255 or (212) 555-0134 or +1 555 010 9988.",
    "version 10.15.7.2, section 3.2.10.4, 127.0.0.1, 192.168.100.101, 8.8.8.8, 203.0.113.57",
    "2001:db8:85a3:8d3:1319:8a2e:370:7348, std::vector, 12:30:45",
    "ann@example.com, user@domain.com, your.name@yourcompany.com, me@host.test, git@github.com:a/b.git",
    "y = x@W.T; @app.route('/'); z = a@b.to(device); logo@2x.png",
    "4111 1111 1111 1111, 4242 4242 4242 4242, 5555 5555 5555 4444, card 378282246310005",
    "4485 3716 0942 7135",
    "DE89 3704 0044 0532 0130 00, DE72 5001 0517 3648 4898 90",
    "SSN 123-45-6789",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "sk-learn-and-other-words-with-hyphens-in-them, sk-" + "x" * 40,
    f"-----BEGIN {'PRIVATE'} KEY-----\n...\n-----END {'PRIVATE'} KEY-----",
    f"{part({'alg': 'HS256'})}.{part({'sub': '1234567890', 'name': 'John Doe'})}.{drawn(43)}",
    f"eyJ{drawn(20)}.eyJ{drawn(20)}.{drawn(43)}",
    "password = os.environ['DB_PASSWORD']; password: ${DB_PASSWORD}; password=changeme123!A",
    "api_key = config.settings.api_key; password: the-usual-one",
    "postgres://user:password@localhost:5432/db",
]


@pytest.mark.parametrize(("kind", "before", "what", "after"), FOUND)
def test_each_kind_is_found_with_its_place(kind: str, before: str, what: str, after: str) -> None:
    opinion = ask(before + what + after)
    assert opinion.details == {"found": {kind: 1}, "spans": [[len(before), len(before) + len(what), kind]]}
    assert (opinion.outcome, opinion.score) == ("fail", 1.0)
    assert opinion.reason == ("secret" if kind in ("key", "private_key", "jwt", "password") else "personal_data")
    assert what not in json.dumps(opinion.details)


@pytest.mark.parametrize("text", PASSED_OVER)
def test_numbers_and_what_documentation_uses_pass(text: str) -> None:
    assert ask(text) == Opinion("pass", 0.0)


def test_kinds_can_be_chosen() -> None:
    text = f"ann.lee@uni-bonn.de, +49 170 8832917, password: {SECRET}"
    assert ask(text).details["found"] == {"email": 1, "phone": 1, "password": 1}
    assert ask(text).reason == "secret"
    assert ask(text, kinds=["phone", "email"]).details["found"] == {"email": 1, "phone": 1}
    assert ask(text, kinds=["card"]).outcome == "pass"


def test_kinds_make_the_version_but_for_their_order() -> None:
    plain = load_check("pii").version
    assert load_check("pii", {"kinds": [*KINDS][::-1]}).version == plain
    some = load_check("pii", {"kinds": ["email", "card"]}).version
    assert some != plain
    assert load_check("pii", {"kinds": ["card", "email"]}).version == some


@pytest.mark.parametrize("kinds", [["e-mail"], [], "email", [1]])
def test_wrong_settings_are_refused(kinds: object) -> None:
    with pytest.raises(ConfigError, match="check pii: kinds is"):
        load_check("pii", {"kinds": kinds})


def test_all_are_counted_and_fifty_listed() -> None:
    opinion = ask(" ".join(f"ann{n}@uni-bonn.de" for n in range(70)))
    assert (opinion.score, opinion.details["found"]) == (70.0, {"email": 70})
    assert len(opinion.details["spans"]) == 50


def test_what_overlaps_is_counted_once() -> None:
    token = "ghp_" + drawn(36)
    assert ask(f"api_key = {token}").details["found"] == {"key": 1}


@pytest.mark.parametrize("noise", ["\ud800", "\x00", "e\u0301", "é", "😀", "مرحبا ", "\u202e", "字"])
def test_odd_characters_around_it_move_no_span(noise: str) -> None:
    before = noise * 3 + " "
    opinion = ask(f"{before}ann.lee@uni-bonn.de {noise}")
    assert opinion.details["spans"] == [[len(before), len(before) + 19, "email"]]


PIECES = st.one_of(
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        ["@", "+", "-", ".", " ", "\n", "://", "-----BEGIN PRIVATE KEY-----", "eyJ", "password=", "\ud800"]
    ),
    st.sampled_from([what for _, _, what, _ in FOUND]),
    st.text("0123456789 -.()+/", max_size=30),
)


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=6), st.randoms())
def test_no_text_breaks_it_and_its_batch_does_not_matter(texts: list[str], chance: random.Random) -> None:
    check = PiiCheck()
    together = check([Sample(text=t) for t in texts])
    assert together == [check.opinion(Sample(text=t)) for t in texts]
    order = chance.sample(range(len(texts)), len(texts))
    assert check([Sample(text=texts[n]) for n in order]) == [together[n] for n in order]
    for text, opinion in zip(texts, together, strict=True):
        # The screens let through whatever the finders find.
        assert [tuple(s) for s in opinion.details.get("spans", [])] == found(text, [*KINDS])
        ends = [0]
        for start, end, _ in opinion.details.get("spans", []):
            assert ends[-1] <= start < end <= len(text)
            ends.append(end)


# Units that each finder starts on again and again.
HOSTILE = (
    *("1", "1 ", "+1 ", "4485 ", "1.2.", "2a01:", "DE89 ", "phone 123456789", "a", "a.", "a@", "@a.", "://a:", "字"),
    *(
        "sk-",
        "eyJ",
        "eyJaaaaaaaa.",
        "password=",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\na-b: c\n",
    ),
    "\ud800",
)


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.timeout(60)
def test_long_texts_take_bounded_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = len(text) + 1
    assert [start, start + 19, "email"] in ask(f"{text} ann.lee@uni-bonn.de", kinds=["email"]).details["spans"]
    ask(text)
