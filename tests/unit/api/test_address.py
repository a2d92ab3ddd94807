"""The caller's address behind proxies."""

import httpx
import pytest

from appliance.api.address import NOT_BELIEVED, TrustedProxies
from appliance.api.app import create_app
from appliance.config.model import NetworkSettings, Settings
from appliance.domain.ingest.cookieless import AddressSource, find_client_address
from tests.support.api_services import MemoryServices
from tests.support.rpc import BATCH_CREATE, PUBLIC

OURS = ("127.0.0.0/8", "10.0.0.0/8", "::1/128")
PROXIES = TrustedProxies(OURS)
JSON = {**PUBLIC, "content-type": "application/json"}
BEHIND_CDN = TrustedProxies(OURS, cdn_headers=True)


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, nonsense, 10.1.2.3", "10.1.2.3"),
        ("::1", "2001:db8::5", "2001:db8::5"),
        ("::ffff:127.0.0.1", "198.51.100.1, ::ffff:10.1.2.3", "198.51.100.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_last_hop_nobody_vouches_for(peer: str, forwarded: str | None, caller: str) -> None:
    """Whatever a client writes in front of the proxy's own entry does not count."""
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    assert PROXIES.judge(peer, headers).address == caller


CDN = {"cf-connecting-ip": "198.51.100.1", "true-client-ip": "198.51.100.1", "cf-ipcountry": "AT"}


@pytest.mark.parametrize(
    ("proxies", "peer", "headers", "believed"),
    [
        (PROXIES, "203.0.113.7", {"user-agent": "a"}, {"user-agent": "a"}),
        (PROXIES, "203.0.113.7", {"x-forwarded-for": "1.2.3.4"}, {"x-forwarded-for": NOT_BELIEVED}),
        (BEHIND_CDN, "203.0.113.7", CDN, {"x-forwarded-for": NOT_BELIEVED}),
        (PROXIES, "127.0.0.1", CDN, {"x-forwarded-for": NOT_BELIEVED}),
        (PROXIES, "127.0.0.1", {"cf-bot-score": "1", "cf-ipcountry": "AT"}, {}),
        (BEHIND_CDN, "127.0.0.1", CDN, CDN),
        (
            PROXIES,
            "127.0.0.1",
            {"x-forwarded-for": "1.2.3.4, 198.51.100.1, 10.0.0.1", "cf-ipcountry": "AT"},
            {"x-forwarded-for": "198.51.100.1"},
        ),
        (PROXIES, "10.0.0.1", {"x-forwarded-for": "1.2.3.4, ?"}, {"x-forwarded-for": NOT_BELIEVED}),
        (PROXIES, "10.0.0.1", {"x-forwarded-for": ""}, {"x-forwarded-for": NOT_BELIEVED}),
        (PROXIES, "", {"x-forwarded-for": "1.2.3.4"}, {"x-forwarded-for": NOT_BELIEVED}),
    ],
)
def test_only_what_is_believed_is_left(
    proxies: TrustedProxies, peer: str, headers: dict[str, str], believed: dict[str, str]
) -> None:
    """A claim of somebody nobody trusts becomes an address that is none, so it can be counted."""
    assert proxies.judge(peer, headers).headers == believed


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "told", "address", "source"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9", AddressSource.PEER_AFTER_REJECTED_HEADER),
        ("203.0.113.9", [], "203.0.113.9", AddressSource.PEER_NO_HEADER),
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1"], "198.51.100.1", AddressSource.X_FORWARDED_FOR),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1", AddressSource.X_FORWARDED_FOR),
    ],
)
async def test_the_chain_sees_the_believed_address(
    peer: str, told: list[str], address: str, source: AddressSource
) -> None:
    """Through the application: a proxy's own entry counts, in a header of its own too."""
    services = MemoryServices()
    settings = Settings(network=NetworkSettings(trusted_proxies=("10.0.0.0/8",)))
    transport = httpx.ASGITransport(create_app(services, settings), client=(peer, 4711))  # type: ignore[arg-type] ASGI, spelt by another library
    async with httpx.AsyncClient(transport=transport, base_url="http://pug.example") as client:
        headers = [*JSON.items(), *(("x-forwarded-for", one) for one in told)]
        await client.post(BATCH_CREATE, headers=headers, content=b"{}")
    found = find_client_address(services.ingest.facts[0])
    assert (found.text, found.source) == (address, source)
