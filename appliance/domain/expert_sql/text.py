"""The text of an expert's query: refused where two readers might read it in two ways.

Invariant: what leaves here is one SELECT of plain tokens, its comments turned into blanks, brackets
balanced, without a clause that changes settings, the format or the target of the answer. It may
stand in brackets or alone and is the same query in both places. Which tables and functions it
names is judged by `tree.py`, of what the engine has read.
"""

import re
from collections.abc import Generator
from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError

CHARACTERS_MAX: Final = 32_768
REFUSED: Final = "QUERY_REFUSED"
"""Reason of a query that is not answered whatever the data; the sentence says what to write."""

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<comment>--[^\n]*|/\*(?:(?!/\*|\*/).)*\*/)
    |(?P<text>'(?:[^'\\\0]|\\[^\0]|'')*')
    |(?P<name>`[^`"'\\\x00-\x1f\x7f,:{}]+`|"[^`"'\\\x00-\x1f\x7f,:{}]+")
    |(?P<number>\d\w*(?:\.\w*)?(?:(?<=[eE])[+-]\d+)?)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark>[()\[\].,;:?<>=!|+\-*%]|/(?!\*))""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_BEGINNINGS: Final = frozenset({"SELECT", "WITH"})
_CLAUSES: Final = frozenset({"SETTINGS", "FORMAT", "OUTFILE", "APPLY", "PREWHERE", "SAMPLE"})
_BRACKETS: Final = {")": "(", "]": "["}


class _Token(Struct, frozen=True):
    kind: str
    text: str
    start: int


def read_text(sql: str) -> str:
    """The query as it may be sent, as long as what was sent so that positions stay true.

    Raises InvalidInputError (`QUERY_REFUSED`).
    """
    if len(sql) > CHARACTERS_MAX:
        raise refused(f"a query has at most {CHARACTERS_MAX} characters")
    if not _is_text(sql):
        raise refused("a query is text in UTF-8")
    pieces: list[str] = []
    seen: list[_Token] = []
    for token in _tokens(sql):
        if token.kind == "comment":
            pieces.append(re.sub(r"[^\n]", " ", token.text))
            continue
        pieces.append(token.text)
        if token.kind != "space":
            seen.append(token)
    text = "".join(pieces)
    while seen and seen[-1].text == ";":
        text = text[: seen.pop().start]
    _check(seen)
    return text.rstrip()


def refused(sentence: str) -> InvalidInputError:
    """The refusal of a query."""
    return InvalidInputError(REFUSED, sentence)


def _is_text(sql: str) -> bool:
    try:
        sql.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tokens(sql: str) -> Generator[_Token]:
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            raise refused(
                f"position {position + 1}: {sql[position]!r} is not understood here; texts stand in"
                " '…', odd names in `…`"
            )
        yield _Token(match.lastgroup or "mark", match.group(), position)
        position = match.end()


def _check(tokens: list[_Token]) -> None:
    first = next((token for token in tokens if token.text != "("), None)
    if first is None or first.text.upper() not in _BEGINNINGS:
        raise refused("a query begins with SELECT or WITH")
    open_brackets: list[str] = []
    for token in tokens:
        if token.kind == "word" and token.text.upper() in _CLAUSES:
            raise refused(
                f"{token.text.upper()} is not for queries; if it is a name, write it in `…`"
            )
        if token.text == ";":
            raise refused("one query at a time")
        if token.text in _BRACKETS.values():
            open_brackets.append(token.text)
        elif token.text in _BRACKETS and (
            not open_brackets or open_brackets.pop() != _BRACKETS[token.text]
        ):
            raise refused(f"position {token.start + 1}: a bracket closes that was not opened")
    if open_brackets:
        raise refused("a bracket is not closed")
