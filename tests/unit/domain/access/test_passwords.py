"""What a password and an address may be [services 3.5]."""

import pytest

from appliance.base.errors import InvalidInputError
from appliance.domain.access.passwords import check_email, check_password


@pytest.mark.parametrize("text", ["sixsix", "x" * 72, "ä" * 36, "with blank"])
def test_passwords_that_fit(text: str) -> None:
    check_password(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("short", "INVALID_ARGUMENT"),
        ("", "INVALID_ARGUMENT"),
        ("x" * 73, "PASSWORD_TOO_LONG"),
        ("ä" * 37, "PASSWORD_TOO_LONG"),
    ],
)
def test_passwords_that_do_not(text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_password(text)
    assert caught.value.reason == reason
    assert not text or text not in str(caught.value)


def test_an_address_loses_outer_blanks_only() -> None:
    assert check_email("  Rex@Pug.test ") == "Rex@Pug.test"


@pytest.mark.parametrize("text", ["", "rex", "rex@", "@pug", "a b@pug", "a@b@c", "x@" + "y" * 255])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_email(text)
    assert [each.field for each in caught.value.violations] == ["email"]
