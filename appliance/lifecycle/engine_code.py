"""Which of our own code an engine runs from: a fingerprint that only behaviour changes.

Invariant: equal fingerprints mean equal instructions, names and constants; a comment or a moved
line changes nothing. `upgrade` leaves an engine running when its program and this stay the same.
"""

import hashlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from types import CodeType
from typing import Final, cast

from appliance.base.errors import DamagedError

_MODULES: Final = {
    "postgres": ("appliance.engines.postgres", "appliance.engines.postgres_cluster"),
    "nats": ("appliance.engines.nats",),
    "clickhouse": ("appliance.engines.clickhouse",),
}
_EVENT_STORE: Final = "appliance.clickhouse_http"


def engine_code() -> dict[str, str]:
    """The fingerprint (SHA-256) of the code behind each engine."""
    package = importlib.util.find_spec(_EVENT_STORE)
    assert package is not None
    assert package.submodule_search_locations is not None
    served = sorted(one.name for one in pkgutil.iter_modules(package.submodule_search_locations))
    modules = _MODULES | {
        "clickhouse": (*_MODULES["clickhouse"], *(f"{_EVENT_STORE}.{name}" for name in served))
    }
    return {engine: _fingerprint(names) for engine, names in modules.items()}


def _fingerprint(names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"\0{name}\0".encode())
        for part in _parts(_code_of(name)):
            digest.update(part)
    return digest.hexdigest()


def _code_of(name: str) -> CodeType:
    spec = importlib.util.find_spec(name)
    loader = spec.loader if spec is not None else None
    # Python's own loader and the frozen binary's both have it, without running the module.
    get_code = getattr(loader, "get_code", None)
    code = get_code(name) if get_code is not None else None
    if not isinstance(code, CodeType):
        raise DamagedError("MODULE_MISSING", f"the module {name} is missing in this release")
    return code


def _parts(code: CodeType) -> Iterator[bytes]:
    """What decides the behaviour; file names and line numbers do not."""
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)
        elif isinstance(constant, frozenset):
            # Its order changes from process to process.
            yield repr(sorted(map(repr, cast("frozenset[object]", constant)))).encode()
        else:
            yield repr(constant).encode()
