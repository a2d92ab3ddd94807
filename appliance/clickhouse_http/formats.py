"""What a format is called on the wire.

Invariant: a name not listed here still works; it is only announced as text. See `statement.py` for
where the name of a query's format comes from.
"""

from typing import Final

DEFAULT_FORMAT: Final = "TabSeparated"
_TSV: Final = "text/tab-separated-values; charset=UTF-8"
_JSON: Final = "application/json; charset=UTF-8"
_NDJSON: Final = "application/x-ndjson; charset=UTF-8"
_PLAIN: Final = "text/plain; charset=UTF-8"
_BINARY: Final = "application/octet-stream"

_EXACT: Final = {
    "null": _PLAIN,
    "xml": "application/xml; charset=UTF-8",
    "markdown": "text/markdown; charset=UTF-8",
    "parquet": _BINARY,
    "orc": _BINARY,
    "native": _BINARY,
    "arrow": _BINARY,
    "arrowstream": _BINARY,
    "avro": _BINARY,
    "npy": _BINARY,
    "bsoneachrow": _BINARY,
    "msgpack": _BINARY,
    "protobuf": _BINARY,
    "capnproto": _BINARY,
    "png": "image/png",
}
_PREFIXES: Final = (
    ("tabseparated", _TSV),
    ("tsv", _TSV),
    ("rowbinary", _BINARY),
    ("csv", "text/csv; charset=UTF-8"),
    ("protobuf", _BINARY),
)
_NDJSON_NAMES: Final = frozenset({"jsoneachrow", "jsonlines", "ndjson", "jsonstringseachrow"})


def content_type(name: str) -> str:
    """The Content-Type of an answer in this format."""
    lowered = name.lower()
    if lowered in _EXACT:
        return _EXACT[lowered]
    for prefix, value in _PREFIXES:
        if lowered.startswith(prefix):
            suffix = (
                "; header=present" if value.startswith("text/csv") and "names" in lowered else ""
            )
            return value + suffix
    if lowered in _NDJSON_NAMES or ("json" in lowered and lowered.endswith("eachrow")):
        return _NDJSON
    return _JSON if "json" in lowered else _PLAIN
