"""Durations and sizes as people write them.

Invariant: a quantity always knows its unit: `Seconds` and `Bytes` parse "30s" and "4GiB", and print
the same way. Settings hold these, never bare numbers.
"""

import re
from typing import Final, Self

_TEXT: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


class Seconds(float):
    """A duration in seconds; written "250ms", "30s", "5m", "1h" or "7d"."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The duration in `text`; raises ValueError naming the units when it is none."""
        return cls(_number(text, _SECONDS))

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            count = float(self) / _SECONDS[unit]
            if count >= 1 and count == int(count):
                return f"{int(count)}{unit}"
        return f"{round(float(self) * 1000)}ms"


class Bytes(int):
    """A size in bytes; written "512KiB", "64MiB", "4GiB" or with powers of ten, "500MB"."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The size in `text`; raises ValueError naming the units when it is none."""
        return cls(int(_number(text, {name: float(factor) for name, factor in _BYTES.items()})))

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            factor = _BYTES[unit]
            if self >= factor and self % factor == 0:
                return f"{self // factor}{unit}"
        return f"{int(self)}B"


def _number(text: str, units: dict[str, float]) -> float:
    match = _TEXT.fullmatch(text.strip())
    if match is None or match["unit"] not in units:
        raise ValueError(f"a number with one of {', '.join(units)}")
    return float(match["number"]) * units[match["unit"]]
