"""A sign-in link from the public call to a mailbox and back, through the whole running stack."""

from pathlib import Path

import pytest

from tests.support.smtp_server import TakenMail, smtp_server
from tests.support.stack import running_stack, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

REQUEST = "/public.auth.v1.AuthService/RequestMagicLink"
COMPLETE = "/public.auth.v1.AuthService/CompleteMagicLink"
MAIL_SECONDS_MAX = 60


def token_of(mail: TakenMail) -> str:
    """The secret in the link that stands on a line of its own."""
    (line,) = [one for one in mail.text.splitlines() if "/magic-link?token=" in one]
    return line.partition("token=")[2]


def test_a_mailed_link_signs_in_and_its_secret_rests_nowhere(tmp_path: Path) -> None:
    """Not in the queue's files, not in the database's, not in a log (decision 0020)."""
    data_dir = tmp_path / "pug"
    with smtp_server(tmp_path / "relay") as relay:
        flags = (
            *("--set", f"email.smtp.host={relay.host}"),
            *("--set", f"email.smtp.port={relay.port}"),
            *("--set", "email.smtp.security=none"),
            *("--set", "email.sender=pug@example.com"),
        )
        with running_stack(data_dir, *flags) as stack:
            answer = stack.client.post(REQUEST, json={"email": "ada@example.org"})
            assert (answer.status_code, answer.json()) == (200, {})
            (mail,) = until(lambda: relay.mails() or None, what="mail", seconds=MAIL_SECONDS_MAX)
            token = token_of(mail)
            assert f"{stack.connection.url}/magic-link?token={token}" in mail.text
            resting = until(
                lambda: [] if not _holding(data_dir, token) else None,
                what="the secret gone",
                seconds=MAIL_SECONDS_MAX,
            )
            assert resting == []
            signed_in = stack.client.post(COMPLETE, json={"token": token})
            assert signed_in.status_code == 200
            assert signed_in.json()["token"]
            assert stack.client.post(COMPLETE, json={"token": token}).status_code == 400


def _holding(folder: Path, secret: str) -> list[Path]:
    """The files that hold a secret."""
    found: list[Path] = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and secret.encode() in path.read_bytes():
                found.append(path)
        except FileNotFoundError:
            continue  # engines replace their files
    return found
