"""A unit file of systemd as data: sections of settings, in order.

Invariant: what is rendered is read back as the same sections by `parse_unit`, which also reads the
files on disk for `doctor` and the tests. Which units there are: `units.py`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

Value = str | int | bool | tuple[str, ...]
"""A tuple is a setting given once for each entry; an empty one is the setting without a value."""

_HEAD: Final = "# Written by `pug-appliance install`. Own changes belong into {name}.d/*.conf.\n"


class UnitFile(msgspec.Struct, frozen=True, kw_only=True):
    """One unit: its file name and its sections."""

    name: str
    unit: Mapping[str, Value]
    main: Mapping[str, Value] = {}
    """The section of the unit's own kind: Service, Socket, Timer."""
    install: Mapping[str, Value] = {}

    @property
    def sections(self) -> dict[str, Mapping[str, Value]]:
        """The sections that have settings, in order."""
        kind = self.name.rpartition(".")[2].capitalize()
        found = {"Unit": self.unit, kind: self.main, "Install": self.install}
        return {name: settings for name, settings in found.items() if settings}

    def render(self) -> str:
        """The text of the file."""
        parts = [_HEAD.format(name=self.name)]
        for section, settings in self.sections.items():
            parts += [f"\n[{section}]\n", *(_line(key, value) for key, value in settings.items())]
        return "".join(parts)


def parse_unit(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Section → setting → values in order; a setting without a value is an empty text."""
    sections: dict[str, dict[str, tuple[str, ...]]] = {}
    current: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            current[key] = (*current.get(key, ()), value)
    return sections


def _line(key: str, value: Value) -> str:
    match value:
        case bool():
            return f"{key}={'yes' if value else 'no'}\n"
        case tuple():
            return "".join(f"{key}={one}\n" for one in value) or f"{key}=\n"
        case _:
            return f"{key}={value}\n"
