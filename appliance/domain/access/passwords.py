"""What a password and an address may be [services 3.5, storage 1.1]."""

import re
from typing import Final

from appliance.base.errors import InvalidInputError, Violation

PASSWORD_CHARACTERS_MIN: Final = 6
PASSWORD_BYTES_MAX: Final = 72
EMAIL_CHARACTERS_MAX: Final = 255
NAME_CHARACTERS_MAX: Final = 150
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def check_password(text: str) -> None:
    """Return when a password may be set; raises InvalidInputError (`PASSWORD_TOO_LONG`)."""
    if len(text) < PASSWORD_CHARACTERS_MIN:
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"a password has at least {PASSWORD_CHARACTERS_MIN} characters"
        )
    if len(text.encode()) > PASSWORD_BYTES_MAX:
        raise InvalidInputError(
            "PASSWORD_TOO_LONG", f"a password has at most {PASSWORD_BYTES_MAX} bytes"
        )


def check_email(text: str) -> str:
    """An address without outer blanks; raises InvalidInputError when it is none or too long."""
    address = text.strip()
    if len(address) > EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(address):
        raise InvalidInputError(
            "INVALID_ARGUMENT",
            f"{address[:EMAIL_CHARACTERS_MAX]!r} is not an e-mail address",
            violations=(Violation(field="email", description="not an e-mail address"),),
        )
    return address
