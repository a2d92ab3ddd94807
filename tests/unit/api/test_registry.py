"""All services of the contract are mounted, each behind its boundary."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.api.call import Boundary
from appliance.api.rpc.registry import mounted_services
from tests.support.api_services import MemoryServices
from tests.support.rpc import PRIVATE, PUBLIC

pytestmark = pytest.mark.anyio

WIRE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "contract" / "wire.json").read_text()
)
SERVED = {
    f"{package}.{service}": set(methods)
    for package, facts in WIRE["packages"].items()
    for service, methods in facts.get("services", {}).items()
    if f"{package}.{service}" not in WIRE["about"]["defined_but_not_served"]
}
NEWER = {
    f"{package}.{service}": set(methods)
    for package, facts in WIRE["newer_public_client"]["added_packages"].items()
    for service, methods in facts.get("services", {}).items()
}
OWN = "appliance."
"""Packages of ours, beyond the contract (docs/decisions/0034, 0035); always behind a project."""
KEYS = {Boundary.SDK: PUBLIC, Boundary.SHARED: PRIVATE}


def test_every_served_method_is_mounted():
    """Exactly the contract's services and the newer client's additions [services 1, 13]."""
    services = mounted_services(MemoryServices(), 1000)
    mounted = {s.name: set(s.methods) for s in services if not s.name.startswith(OWN)}
    wanted = {name: SERVED.get(name, set()) | NEWER.get(name, set()) for name in {*SERVED, *NEWER}}
    assert mounted == wanted


@pytest.mark.parametrize(
    "service", mounted_services(MemoryServices(), 1000), ids=lambda service: service.name
)
async def test_boundaries(client: httpx.AsyncClient, service: Any):
    """Without a credential only the public services get as far as the handler."""
    if service.name.startswith(OWN):
        assert service.boundary in {Boundary.SHARED, Boundary.DASHBOARD}
    else:
        assert service.name.split(".")[0] == service.boundary.value
    method = next(name for name, streams in service.methods.items() if not streams)
    answer = await client.post(
        f"/{service.name}/{method}", headers={"content-type": "application/json"}, content=b"{}"
    )
    expected = {400, 501} if service.boundary is Boundary.PUBLIC else {401}
    assert answer.status_code in expected
