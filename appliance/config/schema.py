"""The settings tree as a flat list of leaves, for whoever reads, checks or documents it.

Invariant: everything here is derived from `model.py`; there is no second list of settings.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Final, Union, cast, get_args, get_origin

import msgspec

from appliance.base.units import Bytes, Seconds
from appliance.config.model import Section, Settings
from appliance.config.secrets import Secret


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its dotted key, type and everything a manual would say."""

    key: str
    annotation: object
    kind: type
    optional: bool
    default: object
    description: str
    environment: tuple[str, ...]
    expected: str
    element: type[Section] | None = None
    """What a list of tables is made of; None for every other setting."""

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.kind is Secret or self.element is not None


@cache
def leaves() -> tuple[Leaf, ...]:
    """Every setting, in the order of the tree."""
    return tuple(_walk(Settings, ""))


@cache
def leaf_by_key() -> dict[str, Leaf]:
    """Every setting by its dotted key."""
    return {leaf.key: leaf for leaf in leaves()}


@cache
def leaf_by_environment_name() -> dict[str, Leaf]:
    """Every setting by each environment name that sets it."""
    return {name: leaf for leaf in leaves() for name in leaf.environment}


def environment_name(key: str) -> str:
    """Our own environment name of a key: `api.port` is `PUG_API_PORT`."""
    return "PUG_" + key.replace(".", "_").upper()


def _walk(section: type[msgspec.Struct], prefix: str) -> Iterator[Leaf]:
    for field in msgspec.structs.fields(section):
        key = f"{prefix}{field.name}"
        kind, optional, metas = _unwrap(field.type)
        if issubclass(kind, Section):
            yield from _walk(kind, f"{key}.")
            continue
        names = _environment_names(metas)
        ours = environment_name(key)
        yield Leaf(
            key=key,
            annotation=field.type,
            kind=kind,
            optional=optional,
            default=field.default,
            description=next((meta.description for meta in metas if meta.description), ""),
            environment=names if ours in names else (*names, ours),
            expected=_TABLES if _element(field.type) else _expected(kind, metas),
            element=_element(field.type),
        )


def _element(annotation: object) -> type[Section] | None:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    parts = get_args(annotation) if get_origin(annotation) is tuple else ()
    first = parts[0] if parts else None
    return first if isinstance(first, type) and issubclass(first, Section) else None


def _environment_names(metas: tuple[msgspec.Meta, ...]) -> tuple[str, ...]:
    return tuple(name for meta in metas for name in (meta.extra or {}).get("env", ()))


def _unwrap(annotation: object) -> tuple[type[object], bool, tuple[msgspec.Meta, ...]]:
    metas: tuple[msgspec.Meta, ...] = ()
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *found = get_args(annotation)
            metas += tuple(meta for meta in found if isinstance(meta, msgspec.Meta))
        elif origin is Union or isinstance(annotation, UnionType):
            optional = NoneType in get_args(annotation)
            annotation = next(part for part in get_args(annotation) if part is not NoneType)
        else:
            break
    kind = cast("object", origin or annotation)
    assert isinstance(kind, type)
    return cast("type[object]", kind), optional, metas


_TABLES: Final = "a list of tables, as JSON text in the environment"
_PLAIN_EXPECTATIONS: Final[dict[type, str]] = {
    bool: "true or false",
    Seconds: 'a duration with its unit, like "30s" or "250ms"',
    Bytes: 'a size with its unit, like "512MiB"',
    Path: "a path",
    Secret: "a non-empty text",
    tuple: "a list of texts, or texts separated by commas",
}


def _expected(kind: type[object], metas: tuple[msgspec.Meta, ...]) -> str:
    if issubclass(kind, StrEnum):
        return "one of " + ", ".join(kind)
    if kind in _PLAIN_EXPECTATIONS:
        return _PLAIN_EXPECTATIONS[kind]
    noun = "a whole number" if kind is int else "a number" if kind is float else "a text"
    return noun + "".join(_limits(metas))


def _limits(metas: tuple[msgspec.Meta, ...]) -> Iterator[str]:
    for meta in metas:
        if meta.ge is not None and meta.le is not None:
            yield f" from {meta.ge} to {meta.le}"
        elif meta.ge is not None:
            yield f" of at least {meta.ge}"
        if meta.gt is not None:
            yield f" above {meta.gt}"
        if meta.min_length:
            yield " that is not empty"
        if meta.pattern:
            yield f" matching {meta.pattern}"
