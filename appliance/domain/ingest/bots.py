"""Bot score and verified-bot flag: only ever from the network in front [ingestion 7].

Invariant: what a client sends under these two keys is removed, header or not.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import Properties
from appliance.domain.ingest.facts import Count
from appliance.domain.ingest.promotion import BOT_SCORE_MAX

SERVER_ONLY_KEYS: Final = ("$bot_score", "$verified_bot")

_SCORE: Final = re.compile(r"0*(?P<score>[0-9]{1,3})")
_VERIFIED: Final = {"true": True, "false": False}


class BotSigns(Struct, frozen=True):
    """Properties to write on every event of a request, and the headers that did not parse."""

    properties: Properties
    unparseable: tuple[Count, ...] = ()


def read_bot_headers(headers: Mapping[str, str]) -> BotSigns:
    """What lower-cased request headers tell about bots; an absent or empty header is no failure."""
    properties: Properties = {}
    unparseable: list[Count] = []
    if score_text := headers.get("cf-bot-score", ""):
        match = _SCORE.fullmatch(score_text)
        if match and int(match["score"]) <= BOT_SCORE_MAX:
            properties["$bot_score"] = int(match["score"])
        else:
            unparseable.append(Count.BOT_SCORE_UNPARSEABLE)
    if verified_text := headers.get("cf-verified-bot", ""):
        verified = _VERIFIED.get(verified_text)
        if verified is None:
            unparseable.append(Count.VERIFIED_BOT_UNPARSEABLE)
        else:
            properties["$verified_bot"] = verified
    return BotSigns(properties, tuple(unparseable))
