"""Secrets: made once, private, never shown."""

from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import MisconfiguredError
from appliance.config.secrets import (
    Secret,
    SecretName,
    ensure_secrets,
    load_secret,
    load_secret_file,
    secret_path,
)


def test_secrets_are_made_once_and_differ(tmp_path: Path) -> None:
    """64 hexadecimal characters each, mode 0600; a second start keeps them."""
    folder = tmp_path / "secrets"
    ensure_secrets(folder)
    before = [load_secret(folder, name).reveal() for name in SecretName]
    ensure_secrets(folder)
    assert [load_secret(folder, name).reveal() for name in SecretName] == before
    assert len(set(before)) == len(SecretName)
    assert {len(text) for text in before} == {64}
    assert {secret_path(folder, name).stat().st_mode & 0o777 for name in SecretName} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [("x", 0o640, "SECRET_EXPOSED"), (" \n", 0o600, "SECRET_EMPTY"), (None, 0, "SECRET_MISSING")],
)
def test_a_bad_secret_file_is_refused(
    tmp_path: Path, content: str | None, mode: int, reason: str
) -> None:
    """Readable by others, empty, missing: each has its reason, none is repaired."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(MisconfiguredError) as caught:
        load_secret_file(path)
    assert caught.value.reason == reason


def test_a_secret_does_not_show_itself() -> None:
    """Not in text, not in repr, not in JSON; and an empty one cannot exist."""
    secret = Secret("hush")
    assert "hush" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(ValueError, match="non-empty"):
        Secret("")
    assert secret == Secret("hush")
    assert secret != Secret("other")
    assert secret != "hush"
    assert len({secret, Secret("hush")}) == 1
