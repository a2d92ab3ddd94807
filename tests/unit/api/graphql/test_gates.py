"""Every field that asks a service stands behind the gate of its RPC."""

import inspect
from collections.abc import Iterator

from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from appliance.api.graphql.gates import FIELD_GATES, FOR_KEYS, needs_person
from appliance.api.graphql.guard import Guarded
from appliance.api.graphql.schema import build_schema
from appliance.domain.access.permissions import GATES, Action, GateKind

SCHEMA = build_schema(development=False, extensions=[])


def fields() -> Iterator[tuple[str, StrawberryField]]:
    """Every field of every object of the graph as `Type.field`."""
    names = SCHEMA.config.name_converter
    for found in SCHEMA.schema_converter.type_map.values():
        definition = found.definition
        if isinstance(definition, StrawberryObjectDefinition) and not definition.is_input:
            for field in definition.fields:
                yield f"{definition.name}.{names.get_graphql_name(field)}", field


def asks(field: StrawberryField) -> bool:
    """Whether resolving a field may ask a service: only coroutines can."""
    resolver = field.base_resolver
    return resolver is not None and inspect.iscoroutinefunction(resolver.wrapped_func)


def takes_arguments_or_begins(name: str, field: StrawberryField) -> bool:
    return name.startswith("Query.") or bool(field.arguments)


def test_every_field_that_asks_is_guarded_by_its_own_entry() -> None:
    guarded = dict[str, str]()
    for name, field in fields():
        guards = [one for one in field.extensions if isinstance(one, Guarded)]
        if asks(field) or takes_arguments_or_begins(name, field):
            assert [one.field for one in guards] == [name], name
            guarded[name] = FIELD_GATES[name]
        else:
            assert guards == [], name
    assert guarded == FIELD_GATES


def test_gates_are_those_of_reading_rpcs() -> None:
    """The graph reads only, so no gate of a change may stand in the list."""
    for rpc in FIELD_GATES.values():
        assert GATES[rpc].action in {None, Action.READ}
        assert GATES[rpc].kind is not GateKind.SDK


def test_there_is_nothing_but_queries() -> None:
    assert SCHEMA._schema.mutation_type is None
    assert SCHEMA._schema.subscription_type is None


def test_keys_may_ask_what_the_shared_boundary_tells_and_their_project() -> None:
    open_to_keys = {name for name in FIELD_GATES if not needs_person(name)}
    assert open_to_keys == FOR_KEYS | {"Query.oidcProviders"} | {
        name for name, rpc in FIELD_GATES.items() if rpc.startswith("shared.")
    }


def test_what_a_guarded_field_tells_may_be_missing() -> None:
    """A refusal of one field leaves its neighbours alone."""
    for name in FIELD_GATES:
        owner, _, field = name.partition(".")
        told = SCHEMA._schema.type_map[owner].fields[field].type
        assert not str(told).endswith("!"), name
