"""A check of a password is one check, whatever there is to compare with."""

import bcrypt
import pytest

from appliance.config.secrets import Secret
from appliance.services.passwords import BCRYPT_COST, Passwords

pytestmark = pytest.mark.anyio
RIGHT = Secret("correct horse")


async def test_what_was_hashed_matches_and_nothing_else() -> None:
    passwords = Passwords()
    stored = await passwords.hash(RIGHT)
    assert stored.startswith(f"$2b${BCRYPT_COST}$")
    assert await passwords.matches(RIGHT, stored)
    assert not await passwords.matches(Secret("battery staple"), stored)
    assert passwords.checks == 2


async def test_nobody_costs_what_somebody_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in calls of bcrypt with the same cost; an empty form never matches."""
    compared: list[str] = []
    real = bcrypt.checkpw

    def counting(password: bytes, hashed: bytes) -> bool:
        compared.append(hashed.decode()[:7])
        return real(password, hashed)

    passwords = Passwords()
    stored = await passwords.hash(RIGHT)
    monkeypatch.setattr(bcrypt, "checkpw", counting)
    assert not await passwords.matches(RIGHT, "")
    assert await passwords.matches(RIGHT, stored)
    assert compared == [f"$2b${BCRYPT_COST}$"] * 2


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
async def test_forms_of_the_original_match(prefix: str) -> None:
    hashed = bcrypt.hashpw(RIGHT.reveal().encode(), bcrypt.gensalt(4)).decode()
    assert await Passwords().matches(RIGHT, f"${prefix}${hashed.split('$', 2)[2]}")


@pytest.mark.parametrize("stored", ["nonsense", "$2b$10$short", "$argon2id$v=19$m=1,t=1,p=1$a$b"])
async def test_what_is_no_hash_matches_nothing(stored: str) -> None:
    assert not await Passwords().matches(RIGHT, stored)


async def test_a_password_too_long_for_bcrypt_matches_nothing() -> None:
    passwords = Passwords()
    stored = await passwords.hash(Secret("x" * 72))
    assert not await passwords.matches(Secret("x" * 73), stored)
