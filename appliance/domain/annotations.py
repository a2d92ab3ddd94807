"""An annotation: a mark on the time axis, at an instant or over a span.

Invariant: plain values. Where it is shown: on every chart of its project, or on one board only.
Who keeps it: `services/annotations.py`.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

TEXT_CHARACTERS_MAX: Final = 500
PROJECT_ANNOTATIONS_MAX: Final = 10_000
PAGE_ROWS_DEFAULT: Final = 200
PAGE_ROWS_MAX: Final = 1000


class AnnotationContent(Struct, frozen=True, kw_only=True):
    """What is set; without `end_at` it marks an instant, without a board the whole project."""

    text: str
    start_at: datetime
    end_at: datetime | None = None
    dashboard_id: str | None = None


class Annotation(Struct, frozen=True, kw_only=True):
    """A kept annotation; `author_id` is None when a key made it or its author is gone."""

    id: str
    content: AnnotationContent
    author_id: str | None
    created_at: datetime
    updated_at: datetime
