"""What an expert may ask for, and how an answer looks.

Invariant: a form is one of these five; each has one name of the engine's and one media type.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct


class Form(StrEnum):
    """How the rows of an answer are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


MEDIA_TYPES: Final[dict[Form, str]] = {
    Form.TABLE: "text/plain; charset=utf-8",
    Form.CSV: "text/csv; charset=utf-8; header=present",
    Form.JSON: "application/json",
    Form.JSONL: "application/x-ndjson",
    Form.PARQUET: "application/vnd.apache.parquet",
}


class Scope(Struct, frozen=True):
    """The one project whose rows exist for a query."""

    project_id: str

    def __post_init__(self) -> None:
        assert self.project_id.isascii(), "ids are plain"
        assert self.project_id.isalnum(), "ids are plain"
