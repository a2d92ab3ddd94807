"""What claims let somebody in [services 3.8, 13]."""

from typing import Any

import pytest

from appliance.domain.access.oidc import (
    Admission,
    AdmissionRules,
    Barrier,
    Expectation,
    Grant,
    Rejection,
    admit,
    claim_at,
    find_rejection,
    parse_grant,
)
from appliance.domain.access.roles import Role

NOW = 1_700_000_000
EXPECTED = Expectation(
    issuer="https://sso.test", client_id="pug", nonce="n" * 16, now=NOW, leeway=60
)
GOOD: dict[str, Any] = {
    "iss": "https://sso.test",
    "aud": "pug",
    "sub": "1",
    "nonce": "n" * 16,
    "iat": NOW - 1,
    "exp": NOW + 300,
    "email": " Mina@Pug.test ",
    "email_verified": True,
}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, None),
        ({"aud": ["pug"]}, None),
        ({"aud": ["pug", "x"], "azp": "pug"}, None),
        ({"aud": ["pug", "x"]}, Rejection.AUTHORIZED_PARTY),
        ({"azp": "x"}, Rejection.AUTHORIZED_PARTY),
        ({"aud": "x"}, Rejection.AUDIENCE),
        ({"aud": None}, Rejection.AUDIENCE),
        ({"aud": {"pug": 1}}, Rejection.AUDIENCE),
        ({"iss": "https://sso.test/"}, Rejection.ISSUER),
        ({"iss": None}, Rejection.ISSUER),
        ({"sub": ""}, Rejection.SUBJECT),
        ({"sub": 1}, Rejection.SUBJECT),
        ({"sub": "s" * 256}, Rejection.SUBJECT),
        ({"exp": NOW - 59}, None),
        ({"exp": NOW - 60}, Rejection.EXPIRED),
        ({"exp": None}, Rejection.EXPIRED),
        ({"exp": True}, Rejection.EXPIRED),
        ({"exp": "2100-01-01"}, Rejection.EXPIRED),
        ({"iat": NOW + 60}, None),
        ({"iat": NOW + 61}, Rejection.NOT_YET),
        ({"iat": None}, Rejection.NOT_YET),
        ({"nbf": NOW + 61}, Rejection.NOT_YET),
        ({"nbf": NOW - 5}, None),
        ({"nbf": "soon"}, Rejection.NOT_YET),
        ({"nonce": "m" * 16}, Rejection.NONCE),
        ({"nonce": None}, Rejection.NONCE),
        ({"nonce": "ü"}, Rejection.NONCE),
    ],
)
def test_a_token_counts_only_if_everything_fits(
    change: dict[str, Any], found: Rejection | None
) -> None:
    assert find_rejection(GOOD | change, EXPECTED) is found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"email": None}, Barrier.EMAIL_MISSING),
        ({"email": "mina"}, Barrier.EMAIL_MISSING),
        ({"email": "a@b@pug.test"}, Barrier.EMAIL_MISSING),
        ({"email": "a b@pug.test"}, Barrier.EMAIL_MISSING),
        ({"email": "a\n@pug.test"}, Barrier.EMAIL_MISSING),
        ({"email": f"{'a' * 250}@pug.test"}, Barrier.EMAIL_MISSING),
        ({"email_verified": False}, Barrier.EMAIL_UNVERIFIED),
        ({"email_verified": None}, Barrier.EMAIL_UNVERIFIED),
        ({"email_verified": 1}, Barrier.EMAIL_UNVERIFIED),
        ({"email_verified": "false"}, Barrier.EMAIL_UNVERIFIED),
        ({"email": "a@evil-pug.test"}, Barrier.DOMAIN),
        ({"email": "a@x.pug.test"}, Barrier.DOMAIN),
        ({"email": "a@pug.test.evil"}, Barrier.DOMAIN),
    ],
)
def test_only_a_verified_address_of_an_allowed_domain(
    change: dict[str, Any], found: Barrier
) -> None:
    assert admit(GOOD | change, AdmissionRules(domains=frozenset({"pug.test"}))) is found


def test_what_is_kept_of_a_person() -> None:
    """An address keeps its letters; a picture that is no web address is none."""
    claims = GOOD | {"name": " ", "preferred_username": "mina", "picture": "javascript:alert(1)"}
    assert admit(claims, AdmissionRules()) == Admission(
        subject="1", email="Mina@Pug.test", display_name="mina", picture_uri="", grants=()
    )
    seen = admit(GOOD | {"picture": "https://pug.test/m.png"}, AdmissionRules())
    assert isinstance(seen, Admission)
    assert seen.picture_uri == "https://pug.test/m.png"


@pytest.mark.parametrize(
    ("groups", "grants"),
    [
        (["a", "v"], [Grant(role=Role.ADMIN)]),
        (["v", "a"], [Grant(role=Role.ADMIN)]),
        ("v", [Grant(role=Role.VIEWER)]),
        (["v", "o", 7, None], [Grant(role=Role.VIEWER), Grant(role=Role.MEMBER, org_id="x")]),
    ],
)
def test_the_highest_role_of_each_organisation(groups: object, grants: list[Grant]) -> None:
    rules = AdmissionRules(
        role_claim="realm_access.roles",
        role_mapping={
            "a": parse_grant("admin"),
            "v": parse_grant("viewer"),
            "o": parse_grant("member@x"),
        },
    )
    admission = admit(GOOD | {"realm_access": {"roles": groups}}, rules)
    assert isinstance(admission, Admission)
    assert list(admission.grants) == grants
    for nothing in ([], ["x"], None, {"a": 1}, 5):
        assert admit(GOOD | {"realm_access": {"roles": nothing}}, rules) is Barrier.NO_ROLE


def test_a_claim_whose_name_has_dots_comes_first() -> None:
    assert claim_at({"https://a.test/roles": 1}, "https://a.test/roles") == 1
    assert claim_at({"a": {"b": 1}, "a.b": 2}, "a.b") == 2
    assert claim_at({"a": [1]}, "a.b") is None
