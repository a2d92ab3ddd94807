"""Naming persons by the shared vectors; the flow through real stores is in tests/integration."""

import json

import httpx
import pytest

from appliance.api.app import create_app
from appliance.config.model import Settings
from appliance.domain.people.traits import merge
from appliance.gen.sdk.profiles.v1.profiles_pb import IdentifyRequest
from tests.support.api_services import MemoryServices
from tests.support.rpc import PUBLIC, details
from tests.support.vectors import Case, cases_of

pytestmark = pytest.mark.anyio

IDENTIFY = "/sdk.profiles.v1.ProfilesSDKService/Identify"


@pytest.mark.parametrize("case", cases_of("merge"))
def test_merge(case: Case) -> None:
    """The overlay wins at the top level, whatever its value [profiles 2.3]."""
    assert merge(case["base"], case["overlay"]) == case["out"]


@pytest.mark.parametrize("form", ["json", "proto"])
@pytest.mark.parametrize("case", cases_of("identify_validation"))
async def test_identify_validation(case: Case, form: str) -> None:
    """Verdict, code and paths on the wire in both forms; what is refused goes no further."""
    services = MemoryServices()
    body = json.dumps(case["request"]).encode()
    if form == "proto":
        body = IdentifyRequest.from_json(body).to_binary()
    transport = httpx.ASGITransport(create_app(services, Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.post(
            IDENTIFY, headers={**PUBLIC, "content-type": f"application/{form}"}, content=body
        )
    if case["accept"]:
        assert answer.status_code == 200, answer.text
        assert answer.content == (b"{}" if form == "json" else b"")
        request = case["request"]
        assert services.identify.calls == [
            {
                "external_id": request["externalId"],
                "traits": request.get("traits", {}),
                "anonymous_id": request.get("anonymousId", ""),
                "device_id": request.get("deviceId", ""),
            }
        ]
        return
    assert answer.status_code == 400
    assert not services.identify.calls
    content = answer.json()
    assert content["code"] == "invalid_argument"
    violations = details(content)["google.rpc.BadRequest"]["fieldViolations"]
    assert {each["field"] for each in violations} == {each["field"] for each in case["violations"]}
