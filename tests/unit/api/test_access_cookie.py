"""Who is given the access token as a cookie [decision 0041]."""

import pytest
from connectrpc.request import Headers

from appliance.api.access_cookie import AccessCookie
from appliance.base.errors import UnauthenticatedError
from appliance.config.secrets import Secret

TOKEN = Secret("a.b.c")
PAGE = {"host": "pug.example", "origin": "http://pug.example", "sec-fetch-site": "same-origin"}
HTTPS_PAGE = {**PAGE, "origin": "https://pug.example"}


def given(asked: dict[str, str], *, secure: bool = False) -> list[str]:
    answer = Headers()
    AccessCookie(secure=secure).give(asked, answer, TOKEN)
    assert [name for name, _ in answer.allitems()] == ["set-cookie"] * len(answer)
    return [value for _, value in answer.allitems()]


def test_a_page_of_ours_is_given_it() -> None:
    """For as long as the token holds, for nobody's script, and for no other site's request."""
    assert given(PAGE) == [
        "pug-access=a.b.c; Path=/graphql; Max-Age=86400; HttpOnly; SameSite=Strict"
    ]
    old = {name: value for name, value in PAGE.items() if name != "sec-fetch-site"}
    assert given(old) == given(PAGE)


def test_behind_https_it_belongs_to_this_host_alone() -> None:
    """The prefix wants the path `/`; a page without TLS is whoever sits on the line."""
    assert given(HTTPS_PAGE, secure=True) == [
        "__Host-pug-access=a.b.c; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict; Secure"
    ]
    assert given(PAGE, secure=True) == []
    (unforeseen,) = given(HTTPS_PAGE)
    assert unforeseen.endswith("; Secure")


@pytest.mark.parametrize(
    "asked",
    [
        {"host": "pug.example"},
        {**PAGE, "origin": "https://board.example"},
        {**PAGE, "origin": "http://pug.example:8080"},
        {**PAGE, "origin": "null"},
        {**PAGE, "sec-fetch-site": "same-site"},
        {**PAGE, "sec-fetch-site": "cross-site"},
    ],
)
def test_programs_and_pages_elsewhere_are_answered_as_ever(asked: dict[str, str]) -> None:
    answer = Headers()
    cookie = AccessCookie(secure=False)
    cookie.give(asked, answer, TOKEN)
    cookie.take_back(asked, answer)
    assert not list(answer.allitems())


@pytest.mark.parametrize("secure", [False, True])
def test_what_is_taken_back_is_what_was_given(secure: bool) -> None:
    """Name and path decide which cookie a browser forgets."""
    answer = Headers()
    AccessCookie(secure=secure).take_back(HTTPS_PAGE, answer)
    ((_, taken),) = answer.allitems()
    (held,) = given(HTTPS_PAGE, secure=secure)
    assert taken == held.replace("a.b.c", "").replace("86400", "0")


def test_reading() -> None:
    cookie = AccessCookie(secure=False)
    assert cookie.read("") is None
    assert cookie.read("pug-access=") is None
    assert cookie.read("a=1; pug-access=a.b.c; b=2") == "a.b.c"
    assert AccessCookie(secure=True).read("pug-access=a.b.c") is None
    for unclear in ("pug-access=a; pug-access=b", "a=" + "b" * (16 << 10)):
        with pytest.raises(UnauthenticatedError):
            cookie.read(unclear)
