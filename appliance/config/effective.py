"""The settings of a running installation as one private file for its own processes.

Invariant: what the supervisor was told by file, environment or flag reaches every child unchanged,
and secrets travel in this file (mode 0600), never in an environment or a command line.
"""

import json
from pathlib import Path
from typing import cast

from msgspec import Struct

from appliance.base.files import ensure_folder, write_atomic
from appliance.config.model import Settings
from appliance.config.reference import render_table, render_value, value_at
from appliance.config.schema import leaves
from appliance.config.secrets import Secret


def save_effective(settings: Settings) -> Path:
    """Write every setting that differs from its default to `run/settings.toml`; its path."""
    folders = settings.folders
    ensure_folder(folders.run)
    path = folders.run / "settings.toml"
    write_atomic(path, render_settings(settings).encode())
    return path


def render_settings(settings: Settings) -> str:
    """Every setting that differs from its default as TOML, secrets included."""
    lines = [
        f"{leaf.key} = {_render(value_at(settings, leaf.key))}"
        for leaf in leaves()
        if value_at(settings, leaf.key) != leaf.default
    ]
    return "\n".join([*lines, ""])


def _render(value: object) -> str:
    if isinstance(value, Secret):
        return json.dumps(value.reveal())
    tables = _tables(value)
    if tables:
        return f"[{', '.join(render_table(table, _render) for table in tables)}]"
    return render_value(value)


def _tables(value: object) -> list[Struct]:
    if not isinstance(value, tuple):
        return []
    return [one for one in cast("tuple[object, ...]", value) if isinstance(one, Struct)]
