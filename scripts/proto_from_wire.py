"""Writes our .proto sources from the facts of the wire contract.

Invariant: names, numbers, types and rules come from `wire.json` only; the words come from this
file. It ran once to make `appliance/proto/`; it stays so that a new issue of the contract can be
rendered and compared. Next: `scripts/generate` turns the sources into Python.

    scripts/proto_from_wire.py /path/to/wire.json appliance/proto
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from proto_words import FILE_WORDS, METHOD_WORDS, RULES_IN_CEL, SERVICE_WORDS, SHORTER_SENTENCES

VALIDATE: Final = "buf/validate/validate.proto"
WKT: Final = {
    "google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "google.protobuf.Duration": "google/protobuf/duration.proto",
    "google.protobuf.Struct": "google/protobuf/struct.proto",
}
NUMERIC: Final = frozenset({"int32", "int64", "uint32", "uint64", "double", "float"})
PLAIN_RULES: Final = ("min_len", "max_len", "max_bytes", "gt", "gte", "lt", "lte")
LISTED_RULES: Final = {"in": "in", "not_in": "not_in"}

Json = dict[str, Any]  # the facts are untyped JSON by nature


def main(wire_file: Path, out: Path) -> None:
    """Render every file of the contract below `out`."""
    wire = with_additions(json.loads(wire_file.read_text()))
    homes = {
        f"{package}.{name}": content["file"]
        for package, facts in wire["packages"].items()
        for section in ("messages", "enums")
        for name, content in facts.get(section, {}).items()
    }
    for entry in wire["files"]:
        path = out / entry["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_file(entry, wire["packages"][entry["package"]], homes))


def with_additions(wire: Json) -> Json:
    """The reference contract plus what the newer public client adds; nothing is taken away."""
    newer = wire["newer_public_client"]
    packages = wire["packages"]
    for enum, value, number in newer["added_enum_values"]:
        package, name = enum.rsplit(".", 1)
        packages[package]["enums"][name]["values"].append([value, number])
    for field in newer["added_fields"]:
        package, name = field["message"].rsplit(".", 1)
        packages[package]["messages"][name]["fields"].append(field)
    for message, rules in newer["added_rules"].items():
        package, name = message.rsplit(".", 1)
        packages[package]["messages"][name].setdefault("rules", []).extend(rules)
    for package, facts in newer["added_packages"].items():
        home = home_of_package(wire, package)
        target = packages.setdefault(package, {})
        for section in ("services", "enums", "messages"):
            known = target.setdefault(section, {})
            for name, content in facts.get(section, {}).items():
                known.setdefault(name, {}).update(content)
                if section != "services":
                    known[name]["file"] = home
    return wire


def home_of_package(wire: Json, package: str) -> str:
    """The file that holds `package`; a new package gets one named after its second part."""
    for entry in wire["files"]:
        if entry["package"] == package:
            return entry["file"]
    path = f"{package.replace('.', '/')}/{package.split('.')[1]}.proto"
    wire["files"].append({"file": path, "package": package, "imports": []})
    return path


def render_file(entry: Json, facts: Json, homes: dict[str, str]) -> str:
    """One .proto file."""
    path = entry["file"]
    messages = {n: m for n, m in facts.get("messages", {}).items() if m["file"] == path}
    enums = {n: e for n, e in facts.get("enums", {}).items() if e["file"] == path}
    extensions = [e for e in facts.get("extensions", []) if e["file"] == path]
    services = facts.get("services", {}) if owns_services(path, facts) else {}
    body: list[str] = []
    for name, methods in services.items():
        body += render_service(entry["package"], name, methods)
    for extension in extensions:
        body += render_extension(extension)
    for name, enum in enums.items():
        body += render_enum(name, enum["values"])
    for name, message in messages.items():
        body += render_message(f"{entry['package']}.{name}", name, message)
    text = "\n".join(body)
    imports = imports_of(path, text, homes, extensions=bool(extensions))
    head = [f"// {line}" for line in FILE_WORDS[path].splitlines()]
    head += ["", 'edition = "2023";', "", f"package {entry['package']};", ""]
    head += [f'import "{name}";' for name in imports]
    return "\n".join([*head, "", text, ""])


def owns_services(path: str, facts: Json) -> bool:
    """Whether `path` is the one file of its package, where the services stand."""
    return {m["file"] for m in facts.get("messages", {}).values()} == {path}


def imports_of(path: str, text: str, homes: dict[str, str], *, extensions: bool) -> list[str]:
    """What the rendered text needs, sorted."""
    known = {**homes, **WKT}
    wanted = {home for name, home in known.items() if uses(text, name)}
    if "(buf.validate." in text:
        wanted.add(VALIDATE)
    if "(common.events.v1." in text:
        wanted.add("common/events/v1/options.proto")
    if extensions:
        wanted.add("google/protobuf/descriptor.proto")
    return sorted(wanted - {path})


def uses(text: str, name: str) -> bool:
    """Whether a type name, or one nested in it, stands in the text."""
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", text) is not None


def render_service(package: str, name: str, methods: Json) -> list[str]:
    """A service with our words about each method."""
    full = f"{package}.{name}"
    lines = [f"// {SERVICE_WORDS[full]}", f"service {name} {{"]
    for method, facts in methods.items():
        stream = "stream " if facts["server_streaming"] else ""
        lines.append(f"  // {METHOD_WORDS[f'{full}/{method}']}")
        lines.append(f"  rpc {method}({facts['request']}) returns ({stream}{facts['response']});")
    return [*lines, "}", ""]


def render_extension(facts: Json) -> list[str]:
    """A custom option."""
    repeated = "repeated " if facts["card"] == "repeated" else ""
    return [
        f"extend {facts['extends']} {{",
        f"  {repeated}{facts['type']} {facts['name']} = {facts['num']};",
        "}",
        "",
    ]


def render_enum(name: str, values: list[list[Any]]) -> list[str]:
    """An enum, open, zero first."""
    return [f"enum {name} {{", *(f"  {value} = {number};" for value, number in values), "}", ""]


def render_message(full: str, name: str, facts: Json) -> list[str]:
    """A message with its options, reserved places, nested enums, oneofs and fields."""
    lines = [f"message {name} {{", *render_head(full, facts)]
    for enum, values in facts.get("enums", {}).items():
        lines += render_enum(enum, values)
    open_oneof: str | None = None
    for field in facts["fields"]:
        oneof = field.get("oneof")
        if oneof != open_oneof and open_oneof is not None:
            lines.append("}")
        if oneof != open_oneof and oneof is not None:
            lines.append(f"oneof {oneof} {{")
            if facts["oneofs"][oneof]["required"]:
                lines.append("option (buf.validate.oneof).required = true;")
        open_oneof = oneof
        lines.append(render_field(full, field))
    if open_oneof is not None:
        lines.append("}")
    return [*lines, "}", ""]


def render_head(full: str, facts: Json) -> list[str]:
    """Options and reserved places of a message."""
    lines: list[str] = []
    if kind := facts.get("kind"):
        lines.append(f'option (common.events.v1.kind) = "{kind}";')
    lines += [
        f"option (common.events.v1.platforms) = {platform};"
        for platform in facts.get("platforms", [])
    ]
    lines += [
        f"option (buf.validate.message).cel = {cel(full, rule)};" for rule in facts.get("rules", [])
    ]
    if numbers := facts.get("reserved_numbers"):
        spans = (f"{n[0]} to {n[1]}" if isinstance(n, list) else str(n) for n in numbers)
        lines.append(f"reserved {', '.join(spans)};")
    if names := facts.get("reserved_names"):
        lines.append(f"reserved {', '.join(names)};")
    return lines


def render_field(message: str, field: Json) -> str:
    """A field with its rules as options."""
    repeated = "repeated " if field["card"] == "repeated" else ""
    options = rule_options(message, field)
    if field.get("pii"):
        options.append("(common.events.v1.pii) = true")
    tail = f" [{', '.join(options)}]" if options else ""
    return f"{repeated}{field['type']} {field['name']} = {field['num']}{tail};"


def rule_options(message: str, field: Json) -> list[str]:
    """The protovalidate options of a field, one per rule of the contract."""
    rules = dict(field.get("rules", {}))
    prefix = "(buf.validate.field)"
    options: list[str] = []
    if rules.pop("required", False):
        options.append(f"{prefix}.required = true")
    if seconds := rules.pop("duration_gte", None):
        options.append(f"{prefix}.duration.gte = {{seconds: {int(seconds.removesuffix('s'))}}}")
    owner = f"{message}.{field['name']}"
    options += [f"{prefix}.cel = {cel(owner, extra)}" for extra in rules.pop("extra", [])]
    for key in ("min_items", "max_items"):
        if key in rules:
            options.append(f"{prefix}.repeated.{key} = {rules.pop(key)}")
    if items := rules.pop("items", None):
        options += typed_rules(f"{prefix}.repeated.items", field["type"], items)
    return options + typed_rules(prefix, field["type"], rules)


def typed_rules(prefix: str, type_name: str, rules: Json) -> list[str]:
    """Rules that stand below the name of the type."""
    family = type_name if type_name in NUMERIC or type_name in {"string", "bytes"} else "enum"
    options: list[str] = []
    for key, value in rules.items():
        if key in LISTED_RULES:
            options += [f"{prefix}.{family}.{key} = {literal(item)}" for item in value]
        elif key in PLAIN_RULES or key in {"pattern", "email", "uuid", "finite", "defined_only"}:
            options.append(f"{prefix}.{family}.{key} = {literal(value)}")
        else:
            sys.exit(f"a rule nobody taught this script: {key}")
    return options


def literal(value: object) -> str:
    """A protobuf text literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    return str(value)


def cel(owner: str, words: str) -> str:
    """A rule in words as an expression, with the words as its message."""
    identifier, expression = RULES_IN_CEL[owner, words]
    message = SHORTER_SENTENCES.get(words, words).replace("`", "")
    return (
        f"{{id: {json.dumps(identifier)}, message: {json.dumps(message)}, "
        f"expression: {json.dumps(expression)}}}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
