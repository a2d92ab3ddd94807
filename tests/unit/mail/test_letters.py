"""The letters say what they must, twice, and load nothing from elsewhere [workers 4.5]."""

import re

import pytest

from appliance.domain.mail.letters import (
    Letter,
    Letterhead,
    Template,
    invite_letter,
    magic_link_letter,
    provider_test_letter,
    sample_letter,
)
from appliance.domain.mail.names import clean_header, clean_name, parse_address

HEAD = Letterhead()
LINK = "https://pug.test/magic-link?token=a%2Bb&x=1"


def flat(text: str) -> str:
    """The words alone: no markup, no line breaks."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def both(letter: Letter) -> tuple[str, str]:
    return flat(letter.text), flat(letter.html)


@pytest.mark.parametrize("template", Template)
def test_nothing_is_loaded_from_elsewhere(template: Template):
    """No picture, style sheet, font or script, unless a logo is configured."""
    letter = sample_letter(template, HEAD, base_url="https://pug.test")
    assert not re.search(r"<img|<link|<script|src=|url\(|@import", letter.html)
    logo = Letterhead(logo_url='https://cdn.example/l.png?a=1&b="')
    with_logo = sample_letter(template, logo, base_url="https://pug.test").html
    assert 'src="https://cdn.example/l.png?a=1&amp;b=&#34;"' in with_logo
    assert with_logo.count("<img") == 1
    assert "<style" not in letter.html


@pytest.mark.parametrize("template", [Template.MAGIC_LINK, Template.INVITE])
def test_the_plain_text_has_the_raw_link_on_a_line_of_its_own(template: Template):
    letter = sample_letter(template, HEAD, base_url="https://pug.test/")
    link = "https://pug.test/magic-link?token=example-token"
    assert letter.text.splitlines().count(link) == 1
    assert letter.html.count(f'href="{link}"') == 2


def test_a_sign_in_link_says_what_it_is():
    for words in both(magic_link_letter(HEAD, link=LINK)):
        assert "works once" in words
        assert "short while" in words
        assert "did not ask for this" in words


def test_the_link_is_escaped_in_html_only():
    letter = magic_link_letter(HEAD, link=LINK)
    assert LINK in letter.text
    assert f'href="{LINK.replace("&", "&amp;")}"' in letter.html


@pytest.mark.parametrize("inviter", ["Mina", ""])
def test_an_invitation_says_who_where_and_how_long(inviter: str):
    letter = invite_letter(HEAD, link=LINK, org_name="Bakery", inviter_name=inviter)
    for words in both(letter):
        assert "Bakery" in words
        assert "7 days" in words
        assert inviter in words
    assert letter.subject == (
        "Mina invites you to Bakery" if inviter else "You are invited to Bakery"
    )


def test_names_are_cleaned_and_escaped():
    letter = invite_letter(
        HEAD, link=LINK, org_name="<b>Evil</b>\r\nBcc: x@y.test", inviter_name="A\x00\tB"
    )
    assert "<b>Evil" not in letter.html
    assert "&lt;b&gt;Evil&lt;/b&gt;Bcc: x@y.test" in letter.html
    assert not {"\r", "\n", "\t"} & set(letter.subject)
    assert letter.subject.startswith("A B invites you to <b>Evil</b>Bcc")


def test_a_test_message_says_that_the_provider_works():
    for words in both(provider_test_letter(HEAD, sender="pug@example.com", org_name="Bakery")):
        assert "Mail works" in words
        assert "Bakery" in words


def test_addresses():
    named = parse_address("Pug, the <pug@example.com>")
    assert named is None or named.addr_spec == "pug@example.com"
    quoted = parse_address('"Pug, the" <pug@example.com>')
    assert quoted is not None
    assert (quoted.display_name, quoted.addr_spec) == ("Pug, the", "pug@example.com")
    for bad in ("", "nobody", "a@b@c", "@b", "a@", "a b@c d"):
        assert parse_address(bad) is None, bad


def test_headers_are_one_line():
    assert clean_header(" a\r\nb\nc ") == "abc"
    assert clean_name("\u0085\u009f\x1bx") == "x"
