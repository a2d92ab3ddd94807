"""The settings as a manual page and as a sample file.

Invariant: both are made from `model.py`; a test compares `docs/configuration.md` with this output.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from appliance.base.units import Bytes, Seconds
from appliance.config.model import NO_EFFECT, Settings
from appliance.config.schema import Leaf, leaves
from appliance.config.secrets import Secret
from appliance.config.sources import Origin, OriginKind

_DEFAULT_ORIGIN = Origin(kind=OriginKind.DEFAULT)


class ShownSetting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it may be shown to anybody."""

    key: str
    value: str
    origin: str


def shown_settings(settings: Settings, origins: dict[str, Origin]) -> tuple[ShownSetting, ...]:
    """Every setting with its value and origin, secrets redacted."""
    return tuple(
        ShownSetting(
            key=leaf.key,
            value=render_value(value_at(settings, leaf.key)),
            origin=str(origins.get(leaf.key, _DEFAULT_ORIGIN)),
        )
        for leaf in leaves()
    )


def render_value(value: object) -> str:
    """A value as it is written in a TOML file; secrets redacted, unset as nothing."""
    if value is None:
        return ""
    if isinstance(value, Secret):
        return "[REDACTED]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Seconds | Bytes | Path | str):
        return json.dumps(str(value))
    if isinstance(value, tuple):
        parts = cast("tuple[object, ...]", value)
        return f"[{', '.join(map(_render_part, parts))}]"
    return (
        _render_pairs(cast("dict[str, object]", value)) if isinstance(value, dict) else str(value)
    )


def render_table(table: msgspec.Struct, render: Callable[[object], str]) -> str:
    """A branch of the settings as an inline table of TOML; unset members are left out."""
    pairs = ((name, getattr(table, name)) for name in table.__struct_fields__)
    inside = ", ".join(f"{name} = {render(one)}" for name, one in pairs if one is not None)
    return f"{{{inside}}}"


def _render_part(part: object) -> str:
    if isinstance(part, msgspec.Struct):
        return render_table(part, render_value)
    return json.dumps(str(part))


def _render_pairs(pairs: dict[str, object]) -> str:
    inside = (f"{json.dumps(name)} = {render_value(value)}" for name, value in pairs.items())
    return f"{{{', '.join(inside)}}}"


def render_manual() -> str:
    """The configuration manual, in Markdown."""
    lines = [
        "# Configuration",
        "",
        "Made from `appliance/config/model.py` by `pug-appliance config reference`; edit there.",
        "",
        "Later wins: default, file (`--config`, `PUG_CONFIG`, `/etc/pug/appliance.toml`),",
        "environment, flag (`--set key=value`). An unknown key is an error. Durations and sizes",
        "carry their unit. Secrets can also be left out: they are made at first start, in",
        "`<data_dir>/secrets`, readable by their owner only.",
        "",
        "| key | default | environment | meaning | expected |",
        "| --- | --- | --- | --- | --- |",
        *(_row(leaf) for leaf in leaves()),
        "",
        "## Names of the original that set nothing here",
        "",
        "| environment name | why |",
        "| --- | --- |",
        *(f"| `{name}` | {why} |" for name, why in NO_EFFECT.items()),
        "",
    ]
    return "\n".join(lines)


def render_sample() -> str:
    """A configuration file with every setting, commented out, at its default."""
    lines = ["# Settings of the Pug Appliance. Every line shows the default."]
    section = ""
    for leaf in leaves():
        head, _, name = leaf.key.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{head}]"]
        value = render_value(leaf.default) or '""'
        lines += ["", f"# {leaf.description}; {leaf.expected}", f"#{name} = {value}"]
    return "\n".join(lines) + "\n"


def _row(leaf: Leaf) -> str:
    names = ", ".join(f"`{name}`" for name in leaf.environment)
    default = f"`{render_value(leaf.default)}`" if leaf.default is not None else "unset"
    expected = leaf.expected.replace("|", "\\|")
    return f"| `{leaf.key}` | {default} | {names} | {leaf.description} | {expected} |"


def value_at(settings: Settings, key: str) -> object:
    """The value of a dotted key."""
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value
