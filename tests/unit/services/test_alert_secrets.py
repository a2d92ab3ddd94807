"""Secrets of webhooks at rest, and the list of hosts."""

import base64

import pytest

from appliance.base.errors import MisconfiguredError, UnmetError
from appliance.config.alerts import AlertSettings
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.services.alerts.desk import read_allow_list
from appliance.services.alerts.sealing import NONCE_BYTES, TAG_BYTES, SecretSealer


def key(number: int) -> Secret:
    return Secret(base64.b64encode(bytes([number]) * 32).decode())


def test_a_sealed_secret_opens_for_its_webhook_only() -> None:
    """Neither another key nor another webhook's id opens it, and no sealing is like another."""
    sealer = SecretSealer(key(1))
    secret = sealer.make_secret()
    sealed = sealer.seal("w1", secret)
    assert sealer.open("w1", sealed) == secret
    assert len(sealed) == NONCE_BYTES + len(secret) + TAG_BYTES
    assert secret.encode() not in sealed
    assert sealer.seal("w1", secret) != sealed
    torn = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for other, webhook_id, kept in (
        (SecretSealer(key(2)), "w1", sealed),
        (sealer, "w2", sealed),
        (sealer, "w1", torn),
        (sealer, "w1", b"short"),
        (sealer, "w1", b""),
    ):
        with pytest.raises(UnmetError) as caught:
            other.open(webhook_id, kept)
        assert caught.value.reason == "WEBHOOK_SECRET_DECRYPT_FAILED"


def test_without_a_key_nothing_is_sealed_or_opened() -> None:
    sealer = SecretSealer(None)
    for work in (
        sealer.require_key,
        lambda: sealer.seal("w", "s"),
        lambda: sealer.open("w", b"x" * 50),
    ):
        with pytest.raises(UnmetError) as caught:
            work()
        assert caught.value.reason == "ALERT_SECRET_KEY_MISSING"


def test_hosts_that_are_none_are_a_wrong_setting() -> None:
    good = Settings(alerts=AlertSettings(webhook_hosts=("a.example", "10.0.0.0/8")))
    assert not read_allow_list(good).is_empty
    assert read_allow_list(Settings()).is_empty
    with pytest.raises(MisconfiguredError, match=r"10\.0\.0\.1/8"):
        read_allow_list(Settings(alerts=AlertSettings(webhook_hosts=("10.0.0.1/8",))))
