"""What happens when an agent calls a tool.

Invariant: whatever goes wrong behind a tool becomes a result with the error flag that the agent can
read, with the code, the reason and the fields of the RPC; never an exception's text, a trace or a
query [mcp 7]. Only a tool that is not offered is an error of the protocol. The SDK is not needed
here but in `protocol.py`.
"""

import json
from collections.abc import Mapping
from typing import Final, cast

import msgspec
import structlog
from prometheus_client import Counter

from appliance.api.call import current_call
from appliance.api.errors import wire_error
from appliance.api.mcp.inner import Asked, InnerAnswer, InnerCalls
from appliance.api.mcp.rates import CallRates
from appliance.api.mcp.surface import Offer
from appliance.api.mcp.values import Json, MalformedError, shown_answer, wire_arguments
from appliance.api.protocols import refusal
from appliance.base.errors import ApplianceError

CALLS: Final = Counter(
    "mcp_tool_calls_total", "Finished tool calls of agents.", ("tool", "outcome")
)
_TYPE_URL: Final = "type.googleapis.com/"
_JSON: Final = "application/json"
_OK: Final = 200
_BROKEN: Final = "something went wrong on our side; the log of the server has request id {}"

_log = structlog.get_logger()


class NoSuchToolError(Exception):
    """A tool that is hidden or does not exist; which of the two is nobody's business."""


class ToolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A tool's result: a text, the same as JSON unless it failed."""

    text: str
    structured: Mapping[str, Json] | None = None
    failed: bool = False


class Tools:
    """The tools that are offered."""

    def __init__(self, offers: Mapping[str, Offer], inner: InnerCalls, rates: CallRates) -> None:
        self._offers = offers
        self._inner = inner
        self._rates = rates

    @property
    def offers(self) -> Mapping[str, Offer]:
        """Every tool by its name."""
        return self._offers

    async def call(self, name: str, arguments: Mapping[str, Json], asked: Asked) -> ToolAnswer:
        """The result of one call; raises NoSuchToolError."""
        offer = self._offers.get(name)
        if offer is None:
            raise NoSuchToolError
        token = current_call.set(asked.call)
        try:
            outcome, answer = await self._answered(offer, arguments, asked)
        except Exception as error:  # noqa: BLE001 one tool's bug is one failed call
            _log.exception("mcp_tool_broke", tool=name, request_id=asked.call.request_id)
            asked.call.failures.append(error)
            outcome = "broken"
            answer = ToolAnswer(text=_BROKEN.format(asked.call.request_id), failed=True)
        finally:
            current_call.reset(token)
        CALLS.labels(name, outcome).inc()
        return answer

    async def _answered(
        self, offer: Offer, arguments: Mapping[str, Json], asked: Asked
    ) -> tuple[str, ToolAnswer]:
        try:
            with self._rates.admitted(asked.key):
                inner = await self._inner.ask(offer, _body(offer, arguments), asked)
        except MalformedError as error:
            return "malformed", ToolAnswer(text=str(error), failed=True)
        except ApplianceError as error:
            refused = refusal(wire_error(error), content_type=_JSON)
            return _failed(InnerAnswer(status=refused.status, body=refused.body))
        if inner.status != _OK:
            return _failed(inner)
        shown = shown_answer(offer.response, msgspec.json.decode(inner.body))
        text = msgspec.json.encode(shown).decode()
        return "ok", ToolAnswer(text=text, structured=shown)


def _body(offer: Offer, arguments: Mapping[str, Json]) -> bytes:
    """The request's JSON; raises MalformedError also for what the codec would never see."""
    try:
        return json.dumps(wire_arguments(offer.request, arguments)).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedError("an argument is too deep or too long a number") from error


def _failed(inner: InnerAnswer) -> tuple[str, ToolAnswer]:
    """An RPC's error, as agents see it; the outcome is its code."""
    error = cast("dict[str, Json]", msgspec.json.decode(inner.body))
    code = str(error["code"])
    details = cast("list[dict[str, Json]]", error.get("details", []))
    shown = {
        "code": code.upper(),
        "message": error.get("message", ""),
        "details": [
            {
                "@type": f"{_TYPE_URL}{each['type']}",
                **cast("dict[str, Json]", each.get("debug", {})),
            }
            for each in details
        ],
    }
    return code, ToolAnswer(text=msgspec.json.encode(shown).decode(), failed=True)
