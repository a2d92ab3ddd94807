"""Numbers written as text, as clients send them in filters and as properties may hold them.

Invariant: a text is a number only as a whole [insights 4.3]; the pattern here and the expression
`NUMERIC_TEXT` of `storage/clickhouse/columns.py` accept the same texts.
"""

import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def parse_number(text: str) -> float | None:
    """The number a text is: optional sign, digits with optional point, optional exponent.

    None for anything else, also for what no double can hold; `nan` and `inf` are texts, because
    one of them in a sum would hide all other numbers [insights 4.3].
    """
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if math.isfinite(number) else None
