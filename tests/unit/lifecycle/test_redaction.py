"""Nothing that names a person or opens a door leaves the machine."""

import pytest

from appliance.lifecycle.redaction import Redactor

LEAKS = [
    ("client 203.0.113.77 hung up", "203.0.113.77"),
    ("peer [2001:db8::17]:443 closed", "2001:db8::17"),
    ("::ffff:203.0.113.77 connected", "203.0.113.77"),
    ("mail to ada.lovelace@example.org failed", "lovelace"),
    ("mail to ada%40example.org failed", "ada%40"),
    ("distinct_id=customer-4711 is unknown", "customer-4711"),
    ('row {"distinctId": "customer-4711", "kind": "buy"}', "customer-4711"),
    ("DETAIL:  Key (distinct_id, project_id)=(customer-4711, p1) already exists.", "customer-4711"),
    ("Key (email)=(ada at example) already exists", "ada at"),
    ("key prv_0123456789abcdef0123 was refused", "prv_0123"),
    ("key pub_0123456789abcdef0123 was refused", "pub_0123"),
    ("Authorization: Basic YWRhOnB3", "YWRhOnB3"),
    ("authorization: Bearer abc.def.ghi", "abc.def"),
    ("got header Cookie: session=qwertz; theme=dark", "qwertz"),
    ("got header Cookie: session=qwertz; theme=dark", "dark"),
    ("Set-Cookie: sid=qwertz; HttpOnly", "qwertz"),
    ("x-api-key: qwertzuiop", "qwertz"),
    ("GET /x?token=qwertz", "qwertz"),
    ("https://shop.example/cart?coupon=geheim#top", "geheim"),
    ("postgresql://pug:geheim@db.example:5432/pug", "geheim"),
    ("nats://user:pa%20ss@host", "pa%20ss"),
    ("password=geheim", "geheim"),
    ("PUG_JWT_SECRET_KEY=geheim", "geheim"),
    ("passphrase: 'geheim und lang'", "geheim"),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIi"),
    ("seed SUAGMJH5XLGZKQQWAWKRZJIGMOU4HPFUYLXJMXOO5NLFEO2OOQJ5LPRDPM", "SUAGMJH5"),
    ("id 0e3f8d56-7c1b-4b5e-9d8f-1a2b3c4d5e6f", "0e3f8d56"),
    ("cookieless-abc_DEF-123 is counted", "abc_DEF"),
    ("0123456789abcdef0123456789abcdef", "0123456789abcdef"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----", "MIIEvQ"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQ and the file ends", "MIIEvQ"),
    ("the word open-sesame-1 is known", "open-sesame-1"),
]
KEPT = [
    "the engine is ready in 0.4 s",
    "listening on 127.0.0.1:8123 and [::1]:80",
    "at 09:30:12 the worker paused: the event store does not answer",
    "0.0.0.0 is every address",
    "wrote /var/lib/pug/postgres/18/base",
    "https://pug.example/healthz answered 200",
    "LoadCredential=nats-password:/etc/pug/secrets/nats-password",
    "sequence 4711 of stream events, 5 messages",
]


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_what_must_not_leave_is_taken_out(text: str, secret: str) -> None:
    assert secret in text
    cleaned = Redactor(["open-sesame-1"]).text(text)
    assert secret not in cleaned
    assert "[" in cleaned


@pytest.mark.parametrize("text", KEPT)
def test_what_helps_stays(text: str) -> None:
    """The control arm: a filter that empties the bundle would pass the test above."""
    redactor = Redactor(["open-sesame-1"])
    assert redactor.text(text) == text
    assert not redactor.counts


def test_literals_of_statements_are_taken_out_of_the_databases_lines() -> None:
    text = "statement: SELECT 1 FROM people WHERE handle = 'it''s ada'"
    assert "ada" not in Redactor().text(text, literals=True)
    assert Redactor().text(text) == text


def test_the_same_value_has_the_same_number() -> None:
    redactor = Redactor()
    first = redactor.text("198.51.100.7 came")
    assert redactor.text("198.51.100.7 went") == first.replace("came", "went")
    assert redactor.text("198.51.100.8 came") != first


def test_fields_are_judged_by_their_names() -> None:
    found = Redactor().value(
        {
            "event": "refused",
            "distinct_id": 4711,
            "api_key": "short",
            "nested": [{"email": "x"}, {"count": 3, "cause": "mail a@b.example"}],
            "seconds": 0.5,
            "ready": True,
            "cause": "",
        }
    )
    assert found == {
        "event": "refused",
        "distinct_id": "[value 1]",
        "api_key": "[secret]",
        "nested": [{"email": "[value 2]"}, {"count": 3, "cause": "mail [mail 3]"}],
        "seconds": 0.5,
        "ready": True,
        "cause": "",
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "letters", ["a", "a.", ":", "0:", "[", "'", "=", "x=", "//", "eyJ", "-----BEGIN "]
)
def test_a_long_line_takes_no_long_time(letters: str) -> None:
    """Lines are up to 16 KiB; a pattern that tries again at each letter would take minutes."""
    line = letters * (16384 // len(letters))
    assert len(Redactor().text(line, literals=True)) <= len(line) * 10
