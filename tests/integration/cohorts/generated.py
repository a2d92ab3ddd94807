"""Random people with several ids, and random crowds of them."""

import json

from hypothesis import strategies as st

from appliance.domain.insights.dimensions import COHORT
from appliance.domain.insights.spec import (
    Comparison,
    Crowd,
    Did,
    EventCondition,
    FilterGroup,
    FilterGroups,
    FirstDid,
    Granularity,
    Has,
    Listed,
    Logic,
    Operator,
    PropertyFilter,
)
from tests.integration.insights.generated import (
    CONDITIONS,
    TEXTS,
    filters,
    ranges,
)
from tests.support.oracle_cohorts import World

IDS = ["u1", "u2", "u3", "u4", "u5", "p1", "p2", "nobody", "cookieless-1", "cookieless-2"]
_TRAITS = st.dictionaries(
    st.sampled_from(["n", "plan"]), st.sampled_from([text for text in TEXTS if text]), max_size=2
)


def _profile(name):
    return st.fixed_dictionaries(
        {
            "id": st.just(name),
            "external_id": st.sampled_from(["", "u1", "u1", "u2", "ext", "p1"]),
            "properties": _TRAITS,
            "deleted": st.sampled_from([False] * 5 + [True]),
        }
    )


@st.composite
def worlds(draw, events):
    """Two profiles at most; ids that are aliases, external ids, both, or neither."""
    profiles = [draw(_profile(name)) for name in ("p1", "p2") if draw(st.integers(0, 3))]
    aliases = st.tuples(
        st.sampled_from(["u1", "u1", "u2", "p2", "cookieless-1"]), st.sampled_from(["p1", "p2"])
    )
    return World(
        events=draw(events), profiles=profiles, aliases=draw(st.lists(aliases, max_size=4))
    )


_SPANS = st.one_of(st.none(), st.none(), ranges(Granularity.DAY))
CRITERIA = st.one_of(
    st.builds(
        Did,
        condition=CONDITIONS,
        comparison=st.sampled_from(list(Comparison)),
        times=st.sampled_from([0, 1, 1, 2, 3, 4]),
        span=_SPANS,
    ),
    st.builds(
        Did,
        condition=st.builds(EventCondition, kind=st.sampled_from(["", "a", "b", "c"])),
        comparison=st.sampled_from(list(Comparison)),
        times=st.sampled_from([1, 2, 3, 4, 5]),
        span=st.none(),
    ),
    st.builds(FirstDid, condition=CONDITIONS, span=ranges(Granularity.DAY)),
    st.builds(Has, filter=filters().filter(lambda one: "$" not in one.property)),
    st.builds(
        Listed, ids=st.lists(st.sampled_from([*IDS, "ext", "x'y\t\\n\r"]), max_size=3).map(tuple)
    ),
)


@st.composite
def crowds(draw, depth: int = 2) -> Crowd:
    """Resolved crowds, nested, negated, of every kind of criterion."""
    inner = st.one_of(CRITERIA, CRITERIA, crowds(depth - 1)) if depth else CRITERIA
    return Crowd(
        criteria=tuple(draw(st.lists(inner, min_size=1, max_size=3))),
        logic=draw(st.sampled_from(list(Logic))),
        is_not=draw(st.sampled_from([False, False, True])),
    )


MEMBERSHIP = st.builds(
    PropertyFilter,
    property=st.just(COHORT),
    operator=st.sampled_from([Operator.EQUALS, Operator.IN, Operator.NOT_EQUALS, Operator.NOT_IN]),
    crowd=crowds(),
)
GROUPS = st.builds(
    FilterGroups,
    groups=st.lists(
        st.builds(
            FilterGroup,
            filters=st.lists(
                st.one_of(MEMBERSHIP, MEMBERSHIP, filters()), min_size=1, max_size=2
            ).map(tuple),
            logic=st.sampled_from(list(Logic)),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    logic=st.sampled_from(list(Logic)),
)


async def store_world(store, project: str, world: World) -> None:
    """Profiles and aliases in the event store, in versions whose last one counts."""
    profiles = [
        {
            "project_id": project,
            "id": one["id"],
            "external_id": one["external_id"],
            "properties": json.dumps(one["properties"]),
            "deleted": one["deleted"],
            "version": 2,
        }
        for one in world.profiles
    ]
    before = [
        one | {"properties": '{"plan": "5"}', "deleted": False, "version": 1} for one in profiles
    ]
    aliases = [
        {"project_id": project, "alias_id": alias, "profile_id": owner, "version": version}
        for version, (alias, owner) in enumerate(world.aliases, start=1)
    ]
    for table, rows in (("profiles", [*profiles, *before]), ("profile_aliases", aliases)):
        if rows:
            body = "\n".join(map(json.dumps, rows)).encode()
            await store.insert_ndjson(table, [body], {})
