"""`mail test`, `mail preview` and the worker's process, as an operator meets them."""

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, parse_ready
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import ensure_secrets
from tests.support.authority import Authority, write_pem
from tests.support.mail_stage import open_mail_stage, relay_settings
from tests.support.smtp_server import Behaviour, SmtpServerProcess, smtp_server
from tests.support.stack import pug

START_SECONDS_MAX = 60


def relay(server: SmtpServerProcess, security: str = "none") -> list[str]:
    """The flags that name a mail server."""
    chosen = {
        "email.smtp.host": server.host,
        "email.smtp.port": str(server.port),
        "email.smtp.security": security,
        "email.sender": "Pug <pug@example.com>",
    }
    return [word for key, text in chosen.items() for word in ("--set", f"{key}={text}")]


def test_a_test_mail_through_a_relay(tmp_path: Path):
    with smtp_server(tmp_path / "s") as server:
        done = pug("mail", "test", "ada@example.org", *relay(server), data_dir=tmp_path / "pug")
        assert done.returncode == 0, done.stderr
        (mail,) = server.mails()
    assert f"smtp 127.0.0.1:{server.port} took the mail to ada@example.org" in done.stdout
    assert mail.recipients == ["ada@example.org"]
    assert "Mail works" in mail.text
    assert not (tmp_path / "pug").exists()


def test_a_private_authority_and_json(tmp_path: Path):
    made = Authority()
    chain = (made.issue(["127.0.0.1"]), made.intermediate)
    certificate, key = write_pem(tmp_path, *chain, key=made.key)
    root = tmp_path / "root.pem"
    root.write_bytes(made.pem(made.root))
    behaviour = Behaviour(security="starttls", certificate=str(certificate), key=str(key))
    with smtp_server(tmp_path / "s", behaviour) as server:
        flags = relay(server, "starttls")
        refused = pug("mail", "test", "ada@example.org", "--json", *flags)
        assert refused.returncode == 7
        error = json.loads(refused.stderr)["error"]
        assert error["reason"] == "MAIL_PROVIDER_UNAVAILABLE"
        assert "not trusted" in error["message"]
        trusting = (*flags, "--set", f"email.ca_file={root}")
        done = pug("email", "test", "ada@example.org", "--json", *trusting)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["answer"] == "taken as 4711"
        assert server.mails()[0].encrypted


def test_a_refusal_and_a_wrong_file(tmp_path: Path):
    with smtp_server(tmp_path / "s", Behaviour(rcpt_reply="550 no such person")) as server:
        done = pug("mail", "test", "ada@example.org", *relay(server))
        assert (done.returncode, "550 no such person" in done.stderr) == (4, True)
        missing = (*relay(server), "--set", f"email.ca_file={tmp_path / 'missing.pem'}")
        done = pug("mail", "test", "ada@example.org", *missing)
        assert (done.returncode, "missing.pem" in done.stderr) == (3, True)


def test_without_a_provider_it_says_what_to_set_and_the_way_around():
    done = pug("mail", "test", "ada@example.org")
    assert done.returncode == 4
    assert "email.provider" in done.stderr
    assert "user magic-link" in done.stderr


@pytest.mark.parametrize("template", ["magic_link", "invite", "provider_test"])
def test_previews(tmp_path: Path, template: str):
    page = tmp_path / "page.html"
    base = ("--set", "email.dashboard_base_url=https://pug.example/")
    assert pug("mail", "preview", template, "--out", str(page), *base).returncode == 0
    text = pug("email", "preview", template, "--text", *base).stdout
    assert page.read_text().startswith("<!doctype html>")
    assert "<" not in text
    if template != "provider_test":
        assert "https://pug.example/magic-link?token=example-token" in text.splitlines()


def test_an_unknown_letter_is_a_usage_error():
    assert pug("mail", "preview", "love").returncode == 2


@contextmanager
def worker(
    folder: Path, *flags: str, data_dir: Path | None = None
) -> Generator[tuple[subprocess.Popen[bytes], int, Path]]:
    """`worker email` with these flags, READY; its process, health port and log."""
    folder.mkdir(exist_ok=True)
    log = folder / "worker.log"
    reading, writing = os.pipe()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance", "worker", "email"),
                *("--data-dir", str(data_dir or folder / "pug"), *flags),
            ],
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            env={**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)},
        )
    os.close(writing)
    try:
        assert select.select([reading], [], [], START_SECONDS_MAX)[0], log.read_text()
        ready = parse_ready(os.read(reading, 1024).rstrip())
        assert ready is not None, log.read_text()
        assert ready.port is not None
        yield process, ready.port, log
    finally:
        os.close(reading)
        process.kill()
        process.wait(timeout=START_SECONDS_MAX)


def test_without_any_provider_the_process_idles(tmp_path: Path):
    """No store need run, it is well, it says what is missing, and it ends when it is asked to."""
    ensure_secrets(tmp_path / "w" / "pug" / "secrets")
    with worker(tmp_path / "w") as (process, port, log):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
            assert answer.read() == b"ok\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=START_SECONDS_MAX) == 0
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    idle = next(line for line in lines if line["event"] == "worker_idle")
    assert idle["missing"] == ["email.provider"]
    assert {line["component"] for line in lines} == {"email"}


@pytest.mark.anyio
@pytest.mark.integration
async def test_a_mail_whose_worker_was_killed_is_sent_by_the_next(
    engines: Settings, tmp_path: Path
) -> None:
    """SIGKILL while the server keeps the worker waiting: the job comes again, with the same key."""
    async with open_mail_stage(resolve_endpoints(engines)) as stage:
        with (
            smtp_server(tmp_path / "silent", Behaviour(greets=False)) as silent,
            worker(tmp_path / "first", *relay(silent), data_dir=engines.data_dir) as (first, *_),
        ):
            assert await stage.queue(relay_settings(silent)).magic_link("a@b.example", "x", "job-7")
            await stage.until_taken()
            first.kill()
        with (
            smtp_server(tmp_path / "well") as well,
            worker(tmp_path / "second", *relay(well), data_dir=engines.data_dir),
        ):
            await stage.until_empty()
            (mail,) = well.mails()
    assert mail.message["x-idempotency-key"] == "job-7"
