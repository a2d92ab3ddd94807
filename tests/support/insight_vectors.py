"""The shared insight vectors: every question of them is asked."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, cast

from msgspec import Struct

VECTORS_FILE: Final = Path(__file__).parents[1] / "contract" / "insight-vectors.json"


Json = Mapping[str, object]


class Case(Struct, frozen=True, kw_only=True):
    """One question of a vector; `topic` is its insight type, or what else it needs."""

    vector: str
    name: str
    topic: str
    events: Sequence[Json]
    request: Json
    expect: Json
    timezone: str
    now: str

    @property
    def id(self) -> str:
        return f"{self.vector}: {self.name}"


@cache
def load_section(name: str) -> Sequence[Json]:
    """A list of the vectors file."""
    return cast("Mapping[str, Sequence[Json]]", json.loads(VECTORS_FILE.read_text()))[name]


class VectorPeople(Struct, frozen=True, kw_only=True):
    """Profiles and aliases of one vector, in the form of the file."""

    vector: str
    profiles: Sequence[Json]
    aliases: Sequence[Json]


def load_people() -> tuple[VectorPeople, ...]:
    """The people of every vector that has any."""
    return tuple(
        VectorPeople(
            vector=str(vector["id"]),
            profiles=cast("Sequence[Json]", vector["profiles"]),
            aliases=cast("Sequence[Json]", vector.get("aliases", ())),
        )
        for vector in load_section("vectors")
        if "profiles" in vector
    )


@cache
def load_cases() -> tuple[Case, ...]:
    """Every question of every vector."""
    return tuple(
        Case(
            vector=str(vector["id"]),
            name=str(case["name"]),
            topic=_topic(case),
            events=cast("Sequence[Json]", vector["events"]),
            request=cast("Json", case["request"]),
            expect=cast("Json", case["expect"]),
            timezone=str(vector.get("reporting_timezone", "")),
            now=str(vector.get("now", "2026-01-01T00:00:00Z")),
        )
        for vector in load_section("vectors")
        for case in cast("Sequence[Json]", vector["cases"])
    )


def _topic(case: Json) -> str:
    if "rpc" in case:
        return str(case["rpc"]).rpartition("/")[2]
    spec = cast("Json", cast("Json", case["request"])["spec"])
    kind = str(spec["insightType"]).removeprefix("INSIGHT_TYPE_")
    if kind in {"TRENDS", "SEGMENTATION"}:
        if "session" in spec:
            return "session"
        if "PROPERTY_SOURCE_PROFILE" in json.dumps(spec):
            return "profile filter"
    return kind
