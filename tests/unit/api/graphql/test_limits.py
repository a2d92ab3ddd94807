"""How large a question may be [decision 0032]."""

import pytest
from graphql import parse

from appliance.api.graphql.limits import (
    ALIASES_MAX,
    COST_MAX,
    DEPTH_MAX,
    ENGINE_COST,
    FRAGMENTS_MAX,
    PAGE_MAX,
    TOKENS_MAX,
    Weight,
    read_question,
    weigh,
)
from appliance.base.errors import InvalidInputError


def weight(text: str, **variables: object) -> Weight:
    return weigh(parse(text), variables)


def refusal(text: str, **variables: object) -> str:
    with pytest.raises(InvalidInputError) as caught:
        weigh(read_question(text), variables)
    assert caught.value.reason == "GRAPHQL_TOO_LARGE"
    assert caught.value.quota is not None
    return caught.value.quota.description.partition(":")[0]


def test_fields_cost_one_and_questions_more() -> None:
    assert weight("{ me { id email } }") == Weight(3, 2, 0)
    assert weight('{ project(id: "a") { insight(query: {}) { json } } }').cost == ENGINE_COST + 3


def test_a_page_multiplies_what_is_in_it() -> None:
    """By its size, by that of the variable, by the most there is where that cannot be told."""
    fixed = "{ organizations(first: 7) { edges { node { id } } } }"
    assert weight(fixed).cost == 1 + 7 * 3
    asked = "query ($n: Int) { organizations(first: $n) { edges { node { id } } } }"
    assert weight(asked, n=9).cost == 1 + 9 * 3
    assert weight(asked, n="nine").cost == 1 + PAGE_MAX * 3
    assert weight(asked).cost == 1 + PAGE_MAX * 3
    assert weight(asked, n=10**12).cost == 1 + PAGE_MAX * 3
    assert weight(asked, n=-5).cost == 1 + 3


def test_insights_of_many_projects_are_too_dear() -> None:
    inner = "edges { node { insight(query: {}) { json } } }"
    assert refusal(f'{{ projects(organizationId: "a", first: 50) {{ {inner} }} }}') == "cost"
    assert weight(f'{{ projects(organizationId: "a", first: 5) {{ {inner} }} }}').cost <= COST_MAX


def test_aliases_are_counted() -> None:
    asked = " ".join(f"a{number}: me {{ id }}" for number in range(ALIASES_MAX + 1))
    assert refusal(f"{{ {asked} }}") == "aliases"


def test_depth_is_counted_through_fragments() -> None:
    nested = "a { " * DEPTH_MAX + "a" + " }" * DEPTH_MAX
    assert refusal(f"{{ {nested} }}") == "depth"
    half = "a { " * (DEPTH_MAX // 2)
    close = " }" * (DEPTH_MAX // 2)
    assert (
        refusal(f"{{ {half} ...rest {close} }} fragment rest on Query {{ {half} a {close} }}")
        == "depth"
    )


def test_fragments_in_fragments_are_weighed_once() -> None:
    """Two to the power of 29 spreads, told in the time of thirty."""
    chain = "".join(
        f"fragment f{number} on Query {{ ...f{number + 1} ...f{number + 1} }} "
        for number in range(FRAGMENTS_MAX - 1)
    )
    last = f"fragment f{FRAGMENTS_MAX - 1} on Query {{ x: me {{ id }} }}"
    assert refusal(f"{{ ...f0 }} {chain} {last}") == "aliases"


def test_too_many_fragments_are_refused() -> None:
    many = " ".join(f"fragment f{n} on Query {{ a }}" for n in range(FRAGMENTS_MAX + 1))
    assert refusal(f"{{ a }} {many}") == "fragments"


@pytest.mark.parametrize(
    "text",
    [
        "{ me { " + "id " * 1500 + "} }",
        "{ " + "me { id } " * 300 + "}",
        "{ "
        + " ".join(f"...f{n}" for n in range(30))
        + " } "
        + " ".join(f"fragment f{n} on Query {{ {'me { id } ' * 10} }}" for n in range(30)),
    ],
)
def test_fields_that_are_alike_are_counted(text: str) -> None:
    """Validation compares each with each: these took it two seconds."""
    assert refusal(text) == "pairs of fields of the same name"


def test_a_circle_of_fragments_ends() -> None:
    """Validation names it; weighing only has to come to an end."""
    assert weight("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a x }").depth == 1


@pytest.mark.parametrize(
    "text",
    [
        "{ a " * TOKENS_MAX,
        "{" * 1500,
        "query q($x: [[[[" * 300,
        "{ a(x: " + "[" * 1500,
        "#\n" * 5000 + "{ me { id } }",
        "{ me { id ",
        "",
        "\0",
        '{ me(x: "\\uD800") }',
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_question(text)
    assert caught.value.reason == "GRAPHQL_SYNTAX"
