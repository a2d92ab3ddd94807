"""The generated code is what the sources say, and the sources are what the contract says.

Next: `scripts/generate` makes the code; `scripts/proto_from_wire.py` once made the sources.
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from protobuf import DescEnum, DescField, DescFile, DescMessage
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from proto_from_wire import with_additions  # noqa: E402 a script, found by its folder

Json = dict[str, Any]
SCALARS = {
    1: "double",
    3: "int64",
    4: "uint64",
    5: "int32",
    8: "bool",
    9: "string",
    12: "bytes",
    13: "uint32",
}
LABEL_REPEATED = 3
OUR_FIELDS = {
    ("sdk.profiles.v1", "ProfileIdentifyMessage"): {"name": "accept_micros", "num": 6},
    ("workers.profiles.v1", "ProfileAliasMessage"): {"name": "version", "num": 5},
    ("workers.profiles.v1", "ProfileUpsertMessage"): {"name": "version", "num": 8},
}
"""What our own workers say to each other beyond the contract; no client sees these messages."""


@pytest.fixture(scope="module")
def wire() -> Json:
    """The contract with the additions of the newer public client, and ours."""
    wire = with_additions(json.loads((ROOT / "tests/contract/wire.json").read_text()))
    for (package, message), field in OUR_FIELDS.items():
        fields = wire["packages"][package]["messages"][message]["fields"]
        fields.append({**field, "type": "int64", "card": "singular"})
    return wire


@pytest.fixture(scope="module")
def files(wire: Json) -> list[DescFile]:
    """Descriptors of every generated module."""
    names = (
        "appliance.gen." + entry["file"].removesuffix(".proto").replace("/", ".") + "_pb"
        for entry in wire["files"]
    )
    return [importlib.import_module(name).desc() for name in names]


def messages_of(files: list[DescFile]) -> Iterator[DescMessage]:
    for file in files:
        yield from file.messages


def field_facts(field: DescField) -> Json:
    """A field in the words of the contract."""
    proto = field.proto
    type_name = SCALARS.get(int(proto.type), proto.type_name.removeprefix("."))
    card = "repeated" if int(proto.label) == LABEL_REPEATED else "singular"
    if type_name.endswith("Entry"):
        card = "map"
    return {"name": field.name, "num": field.number, "type": type_name, "card": card}


def expected_facts(field: Json) -> Json:
    return {key: field[key] for key in ("name", "num", "type", "card")}


def map_type(message: DescMessage, field: Json) -> str:
    """`map<string, x>` of a map field, read from its entry."""
    entry = next(m for m in message.proto.nested_type if field["type"].endswith(f".{m.name}"))
    kinds = [SCALARS.get(int(f.type), f.type_name.removeprefix(".")) for f in entry.field]
    return f"map<{kinds[0]}, {kinds[1]}>"


def test_sources_generate_this_very_code():
    """Regenerating changes nothing, and the sources are in canonical form."""
    done = subprocess.run(
        [ROOT / "scripts/generate", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_messages_equal_the_contract(wire: Json, files: list[DescFile]):
    """Every message has exactly the fields of the contract: name, number, type, cardinality."""
    found = {message.type_name: message for message in messages_of(files)}
    wanted = {
        f"{package}.{name}": message
        for package, facts in wire["packages"].items()
        for name, message in facts["messages"].items()
    }
    assert set(found) == set(wanted)
    for name, message in wanted.items():
        facts = [field_facts(field) for field in found[name].fields]
        for fact in facts:
            if fact["card"] == "map":
                fact["type"] = map_type(found[name], fact)
        expected = sorted(map(expected_facts, message["fields"]), key=lambda f: f["num"])
        assert sorted(facts, key=lambda f: f["num"]) == expected, name
        assert {o.name for o in found[name].oneofs} == set(message.get("oneofs", {})), name
        members = {f.name: o.name for o in found[name].oneofs for f in o.fields}
        assert members == {f["name"]: f["oneof"] for f in message["fields"] if "oneof" in f}, name
        reserved = {n for r in found[name].proto.reserved_range for n in range(r.start, r.end)}
        spans = [n if isinstance(n, list) else [n, n] for n in message.get("reserved_numbers", [])]
        assert reserved == {n for low, high in spans for n in range(low, high + 1)}, name


def enum_values(enum: DescEnum) -> list[list[Any]]:
    return [[value.name, value.number] for value in enum.proto.value]


def test_enums_equal_the_contract(wire: Json, files: list[DescFile]):
    """Every enum, at the top or nested, has the contract's names and numbers."""
    found = {enum.type_name: enum_values(enum) for file in files for enum in file.enums}
    for message in messages_of(files):
        found |= {enum.type_name: enum_values(enum) for enum in message.nested_enums}
    wanted = {}
    for package, facts in wire["packages"].items():
        for name, enum in facts.get("enums", {}).items():
            wanted[f"{package}.{name}"] = enum["values"]
        for message, content in facts["messages"].items():
            for name, values in content.get("enums", {}).items():
                wanted[f"{package}.{message}.{name}"] = values
    assert found == wanted


def test_services_equal_the_contract(wire: Json, files: list[DescFile]):
    """Every method has the contract's messages and streams where the contract streams."""
    found = {
        f"/{service.type_name}/{method.name}": (
            method.input.type_name,
            method.output.type_name,
            method.method_kind == "server_streaming",
        )
        for file in files
        for service in file.services
        for method in service.methods
    }
    wanted = {
        method["path"]: (method["request"], method["response"], method["server_streaming"])
        for facts in wire["packages"].values()
        for service in facts.get("services", {}).values()
        for method in service.values()
    }
    assert found == wanted


def test_options_equal_the_contract(wire: Json, files: list[DescFile]):
    """Event kinds, platforms and personal fields are marked as in the contract."""
    options = importlib.import_module("appliance.gen.common.events.v1.options_pb")
    for message in messages_of(files):
        package, name = message.type_name.rsplit(".", 1)
        facts = wire["packages"][package]["messages"][name]
        chosen = message.proto.options
        assert (chosen[options.ext_kind] if chosen else "") == facts.get("kind", "")
        platforms = [p.name for p in chosen[options.ext_platforms]] if chosen else []
        assert [f"PLATFORM_{p.removeprefix('PLATFORM_')}" for p in platforms] == facts.get(
            "platforms", []
        )
        marked = {
            f.name for f in message.fields if f.proto.options and f.proto.options[options.ext_pii]
        }
        assert marked == {f["name"] for f in facts["fields"] if f.get("pii")}


def message_rule_count(message: DescMessage) -> int:
    options = message.proto.options
    rules = options[validate_pb.ext_message] if options else None
    return len(rules.cel) if rules else 0


def rule_count(field: DescField) -> int:
    """How many rules of the contract the options of a field hold."""
    if not field.proto.options:
        return 0
    rules = field.proto.options[validate_pb.ext_field]
    if rules is None:
        return 0
    total = len(rules.cel) + (1 if rules.required else 0)
    if rules.type is not None:
        total += sum(1 for name in rules.type.value if name in rules.type.value)
    return total


def test_rules_are_all_there(wire: Json, files: list[DescFile]):
    """Each field and message has as many rules as the contract gives it."""
    for message in messages_of(files):
        package, name = message.type_name.rsplit(".", 1)
        facts = wire["packages"][package]["messages"][name]
        assert message_rule_count(message) == len(facts.get("rules", [])), message.type_name
        for fact in facts["fields"]:
            field = next(f for f in message.fields if f.name == fact["name"])
            rules = dict(fact.get("rules", {}))
            wanted = len(rules) + len(rules.get("extra", [""])) - 1
            assert rule_count(field) == wanted, f"{message.type_name}.{field.name}"


def test_our_part_of_the_vocabulary_has_the_library_s_numbers(tmp_path: Path):
    """Our excerpt of protovalidate names each rule with the library's number and type."""
    image = tmp_path / "image.json"
    subprocess.run(
        [ROOT / ".venv/bin/buf", "build", ROOT / "appliance/proto", "-o", image], check=True
    )
    ours = next(
        file
        for file in json.loads(image.read_text())["file"]
        if file["name"] == "buf/validate/validate.proto"
    )
    theirs = {message.name: message for message in validate_pb.FieldRules.desc().file.messages}
    for message in ours["messageType"]:
        numbers = {field.name: field.number for field in theirs[message["name"]].fields}
        for field in message["field"]:
            assert numbers[field["name"]] == field["number"], (message["name"], field["name"])
