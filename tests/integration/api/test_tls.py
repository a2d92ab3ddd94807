"""HTTPS at the public port, with the real server and clients that verify."""

import json
import socket
import ssl
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from pyqwest import Client, HTTPTransport, HTTPVersion

from appliance.base.clock import SystemClock
from appliance.config.tls import TlsFiles, pinned_context
from appliance.engines.http_door import http_get
from appliance.gen.sdk.events.v1.events_connect import EventsServiceClient
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from appliance.lifecycle.tls import install, read_bundle
from tests.support.api_services import api_process
from tests.support.authority import Authority, write_pem
from tests.support.rpc import BATCH_CREATE, PUBLIC, event

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

BODY = {"events": [event(1)]}


class Served:
    """A server with a certificate of an authority that a client may or may not trust."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        leaf = self.authority.issue(("localhost", "127.0.0.1"))
        certificate, key = write_pem(
            folder, leaf, self.authority.intermediate, key=self.authority.key
        )
        self.place = folder / "server.pem"
        install(
            read_bundle(certificate, key, None, clock=SystemClock(), passphrase=None), self.place
        )
        self.expires = leaf.not_valid_after_utc
        self.files = TlsFiles(certificate=self.place, key=self.place)

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=Authority.pem(self.authority.root).decode())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def port(served: Served) -> Generator[int]:
    with api_process("--tls", str(served.place), "1.2") as (number, _):
        yield number


def test_a_client_that_trusts_the_root_is_served_on_one_connection(served: Served, port: int):
    """HTTP/1.1 keep-alive over TLS; the server sends the intermediate, the date is in /metrics."""
    with httpx.Client(base_url=f"https://localhost:{port}", verify=served.trusting()) as client:
        streams: set[int] = set()
        for _ in range(20):
            answer = client.post(BATCH_CREATE, json=BODY, headers=PUBLIC)
            assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
            streams.add(id(answer.extensions["network_stream"]))
        assert len(streams) == 1
        metrics = client.get("/metrics").text
    line = next(line for line in metrics.splitlines() if line.startswith("tls_certificate_expires"))
    assert float(line.split()[1]) == served.expires.timestamp()


def test_a_client_that_does_not_trust_it_goes_away(port: int):
    """Without the root there is no connection, and the next client is served all the same."""
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"https://localhost:{port}/healthz", timeout=60)


def test_plain_http_is_not_answered(served: Served, port: int):
    """No credential ever gets an answer in clear text."""
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60)
    assert (
        httpx.get(f"https://127.0.0.1:{port}/healthz", timeout=60, verify=served.trusting()).text
        == "ok"
    )


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
     (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_versions(served: Served, port: int, version: ssl.TLSVersion, spoken: str | None):
    """TLS 1.2 and 1.3 are spoken, older ones are not."""
    context = served.trusting()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        if spoken is None:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(plain, server_hostname="localhost")
            return
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            assert secure.version() == spoken


def test_only_the_newest_version_when_asked_for(served: Served):
    """`tls.version_min = 1.3`."""
    with api_process("--tls", str(served.place), "1.3") as (number, _):
        context = served.trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://localhost:{number}/healthz", timeout=60, verify=context)
        assert httpx.get(
            f"https://localhost:{number}/healthz", timeout=60, verify=served.trusting()
        ).is_success


def test_an_inherited_socket_makes_a_client_wait_instead_of_refusing_it(served: Served):
    """What systemd's socket does during a restart: a TLS client that comes first is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = int(listener.getsockname()[1])
        with socket.create_connection(("127.0.0.1", number), timeout=60) as early:
            with api_process("--tls", str(served.place), "1.2", listener=listener) as (same, _):
                assert same == number
                with served.trusting().wrap_socket(early, server_hostname="localhost") as secure:
                    secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert secure.recv(4096).startswith(b"HTTP/1.1 200")
            with api_process("--tls", str(served.place), "1.2", listener=listener):
                answer = httpx.get(
                    f"https://localhost:{number}/healthz", timeout=60, verify=served.trusting()
                )
                assert answer.is_success


async def test_http2_is_negotiated(served: Served, port: int):
    """A client of the protocol library over HTTP/2 and TLS."""
    ca = Authority.pem(served.authority.root)
    async with HTTPTransport(http_version=HTTPVersion.HTTP2, tls_ca_cert=ca) as transport:
        client = EventsServiceClient(f"https://localhost:{port}", http_client=Client(transport))
        batch = BatchCreateRequest.from_json(json.dumps(BODY))
        assert (await client.batch_create(batch, headers=PUBLIC)).accepted == 1


async def test_the_probe_of_the_supervisor_asks_without_verifying(port: int):
    """It asks whether anybody answers, over loopback."""
    answer = await http_get("127.0.0.1", port, "/healthz", secure=True, verify=False)
    assert answer.status == 200


def test_our_own_commands_trust_our_certificate_and_no_other(
    served: Served, port: int, tmp_path: Path
):
    """Neither names nor an authority are needed for a command on the same machine."""
    url = f"https://127.0.0.1:{port}/healthz"
    assert httpx.get(url, timeout=60, verify=pinned_context(served.files)).is_success
    stranger = Served(tmp_path)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=60, verify=pinned_context(stranger.files))
