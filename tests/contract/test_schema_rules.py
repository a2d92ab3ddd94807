"""The schema's rules judge the contract's requests as the contract says, on the wire and off it.

`batch_validation` is checked by hand on the fast way and by the schema's own rules here; both must
come to the same verdict [ingestion 2].
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.interceptor import validate
from appliance.base.errors import InvalidInputError
from appliance.config.model import Settings
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from appliance.gen.sdk.profiles.v1.profiles_pb import IdentifyRequest
from tests.support.api_services import MemoryServices
from tests.support.rpc import BATCH_CREATE, PUBLIC, details, event

pytestmark = pytest.mark.anyio

Case = dict[str, Any]
_SECTIONS: Case = json.loads((Path(__file__).parent / "test-vectors.json").read_text())
BATCHES: list[Case] = _SECTIONS["batch_validation"]["cases"]
IDENTIFIES: list[Case] = _SECTIONS["identify_validation"]["cases"]


def request_of(case: Case) -> Case:
    """The request of a case; some only say how often to repeat a good event."""
    if "request" in case:
        return case["request"]
    return {"events": [event(number) for number in range(case["repeat"])]}


def fields_of(case: Case) -> set[str]:
    return {violation["field"] for violation in case.get("violations", [])}


def broken_fields(message: object) -> set[str] | None:
    try:
        validate(message)
    except InvalidInputError as error:
        return {violation.field for violation in error.violations}
    return None


@pytest.mark.parametrize("case", IDENTIFIES, ids=lambda case: case["id"])
def test_identify(case: Case):
    """`IdentifyRequest` by the rules of its schema."""
    message = IdentifyRequest.from_json(json.dumps(request_of(case)), ignore_unknown_fields=True)
    assert broken_fields(message) == (None if case["accept"] else fields_of(case))


@pytest.mark.parametrize("case", BATCHES, ids=lambda case: case["id"])
def test_batch_by_schema(case: Case):
    """`BatchCreateRequest` by the rules of its schema."""
    try:
        message = BatchCreateRequest.from_json(
            json.dumps(request_of(case)), ignore_unknown_fields=True
        )
    except ValueError:
        assert not case["accept"]
        return
    assert broken_fields(message) == (None if case["accept"] else fields_of(case))


@pytest.mark.parametrize("form", ["json", "proto"])
@pytest.mark.parametrize("case", BATCHES, ids=lambda case: case["id"])
async def test_batch_on_the_wire(case: Case, form: str):
    """The same through the HTTP face in both forms: verdict, code and paths."""
    body = json.dumps(request_of(case)).encode()
    if form == "proto":
        try:
            body = BatchCreateRequest.from_json(body, ignore_unknown_fields=True).to_binary()
        except ValueError:
            assert not case["accept"]
            return
    transport = httpx.ASGITransport(create_app(MemoryServices(), Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.post(
            BATCH_CREATE, headers={**PUBLIC, "content-type": f"application/{form}"}, content=body
        )
    if case["accept"]:
        assert answer.status_code == 200, answer.text
        return
    assert answer.status_code == 400
    content = answer.json()
    assert content["code"] == "invalid_argument"
    found = details(content)
    if "google.rpc.BadRequest" in found:
        violations = found["google.rpc.BadRequest"]["fieldViolations"]
        assert {violation.get("field", "") for violation in violations} == fields_of(case)
