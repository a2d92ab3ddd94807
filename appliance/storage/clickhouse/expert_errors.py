"""What an expert is told when the engine does not answer.

Invariant: only errors about the query's own text are told in the engine's words, and of those the
first sentence with inner names taken out; everything else is said in ours. The engine's words
can hold a value of a row, but only of a row that the query may see.
"""

import re
from typing import Final

from clickhouse_connect.driver.exceptions import Error

from appliance.base.errors import (
    ApplianceError,
    ExhaustedError,
    InvalidInputError,
    TimedOutError,
)

INVALID: Final = "QUERY_INVALID"
TOO_LARGE: Final = "QUERY_TOO_LARGE"
TOO_SLOW: Final = "QUERY_TOO_SLOW"
WORDS_MAX: Final = 600
_SHOWN_MAX: Final = 40

_OF_THE_QUERY: Final = frozenset(
    {
        *(6, 10, 20, 26, 27, 35, 36, 38, 41, 42, 43, 44, 46, 47, 48, 50, 51, 53, 60, 62, 63, 69),
        *(70, 72, 81, 99, 117, 122, 125, 128, 131, 135, 152, 153, 167, 168, 179, 182, 184, 190),
        *(207, 215, 258, 321, 349, 352, 386, 395, 403, 407, 427, 433, 456, 457, 465, 467, 622),
        *(636, 675, 676, 691),
    }
)
_LIMITS: Final[dict[int, str]] = {
    158: "it would read too many rows; narrow the time",
    307: "it would read too many bytes; narrow the time or name fewer columns",
    396: "the answer has too many rows or bytes; add a LIMIT or aggregate",
    241: "it needs too much memory; narrow the time or group by less",
    243: "it needs too much disk; narrow the time or group by less",
    202: "too many queries are running; ask again in a moment",
    161: "it reads too many columns",
    191: "a set of it is too large; narrow the time",
}
_TOO_SLOW: Final = frozenset({159, 160, 394})
_CUT: Final = re.compile(
    r"(: [Ww]hile (processing|executing|reading|converting)|: while executing|In scope|"
    r"[,.]? ?[Mm]aybe you meant|INTO OUTFILE|: \(?[Ww]hile reading| Stack trace|There was an error"
    r"|\(version|\(in file/uri|: default: |: ?\(?at row).*",
    re.DOTALL,
)
_PREFIX: Final = re.compile(r".*?Code: \d+\. (?:DB::(?:Net)?Exception: )?", re.DOTALL)
_PLACE: Final = re.compile(r"Syntax error.*?: failed at position (\d+)", re.DOTALL)
_NAME: Final = re.compile(r" ?\([A-Z][A-Z_]+\)\s*$")
_ALIAS: Final = re.compile(r"__table\d+\.")
_PATH: Final = re.compile(r"/(?:proc|tmp|var|home|opt|etc)/[^\s'\"]*")
_UUID: Final = re.compile(r" ?\([0-9a-f]{8}-[0-9a-f-]{27}\)")


def explain_failure(
    error: ApplianceError, *, text: str, before: str, inner: tuple[str, ...]
) -> ApplianceError:
    """The error as whoever asked `text` may read it.

    `before` is what we put before the text, `inner` are names that are nobody's business.
    """
    cause = error.__cause__
    if not isinstance(cause, Error) or cause.code is None:
        return error
    if cause.code in _LIMITS:
        told: ApplianceError = ExhaustedError(
            TOO_LARGE, f"the query was stopped: {_LIMITS[cause.code]}"
        )
    elif cause.code in _TOO_SLOW:
        told = TimedOutError(
            TOO_SLOW, "the query was stopped: it takes too long; narrow the time or ask for less"
        )
    elif cause.code in _OF_THE_QUERY:
        words = str(cause)
        place = _PLACE.search(words)
        told = InvalidInputError(
            INVALID,
            _wrong_place(int(place[1]) - len(before), text) if place else readable(words, inner),
        )
    else:
        told = ApplianceError("INTERNAL", "the event store failed to answer the query")
    told.fields.update(error.fields)
    return told


def _wrong_place(position: int, text: str) -> str:
    """Where the syntax is wrong; positions of the engine count bytes, from 1."""
    characters = len(text.encode()[: max(0, position - 1)].decode(errors="ignore"))
    if characters >= len(text):
        return "the syntax is wrong: the query ends too early"
    found = text[characters : characters + _SHOWN_MAX].partition("\n")[0]
    return f"the syntax is wrong at position {characters + 1}: {found}"


def readable(text: str, inner: tuple[str, ...]) -> str:
    """The first sentence of an error of the engine, without what only we should know."""
    words = _PREFIX.sub("", text, count=1)
    words = _CUT.sub("", words)
    words = _UUID.sub("", _PATH.sub("…", _ALIAS.sub("", words)))
    for name in inner:
        words = words.replace(f"`{name}`.", "").replace(f"{name}.", "").replace(name, "…")
    words = _NAME.sub("", " ".join(words.split())).rstrip(" .,:;")
    if len(words) > WORDS_MAX:
        words = words[:WORDS_MAX] + "…"
    return words or "the engine does not accept the query"
