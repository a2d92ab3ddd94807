"""Reads as much of a statement's text as the HTTP protocol needs.

Invariant: text is cut into tokens the way the original cuts it, so a keyword inside a string, a
quoted name or a comment is never taken for one. Nothing here understands SQL: the engine does.
Text is bytes read as Latin-1, so that offsets are byte offsets and any byte survives.
Where next: `run.py` carries a plan out.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec

from appliance.clickhouse_http.errors import Codes, EngineError

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|//[^\n]*|\#[ !][^\n]*|/\*.*?\*/
        |\xc2\xa0|\xe2\x80[\x80-\x8b\xa8\xa9\xaf]|\xe3\x80\x80|\xef\xbb\xbf)
    |(?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
    |(?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<word>[^\W\d]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_ANSWERING: Final = frozenset(
    {"SELECT", "WITH", "FROM", "(", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK"}
)
_STREAMED: Final = frozenset({"SELECT", "WITH", "FROM", "("})


class Kind(StrEnum):
    """What has to be done with a statement."""

    ANSWER = "answer"
    INSERT = "insert"
    COMMAND = "command"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One significant piece of a statement; `depth` counts open brackets."""

    kind: str
    text: str
    start: int
    end: int
    depth: int

    @property
    def upper(self) -> str:
        return self.text.upper()

    @property
    def is_keyword(self) -> bool:
        return self.kind == "word"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A statement taken apart: what to run, and where its rows come from or go to.

    `text` has no FORMAT clause and no data; `tail` is what followed FORMAT (a SETTINGS clause).
    `format` is empty when the statement names none. For an INSERT with inline rows `data_start` is
    the offset in the original text where the rows begin. `input_span` is where `input(` stands in
    an INSERT … SELECT … FROM input(…), whose rows come from the body.
    """

    kind: Kind
    verb: str
    text: str
    tail: str = ""
    format: str = ""
    streamed: bool = False
    data_start: int = -1
    input_span: tuple[int, int] | None = None
    kills: bool = False


def scan(text: str) -> list[Token]:
    """All significant tokens of `text`."""
    return list(_lazy(text))


def plan_statement(text: str) -> Plan:
    """Take a whole statement apart; raises EngineError for what HTTP does not allow."""
    first = _first(text)
    if first == "INSERT" or (first == "WITH" and is_insert(text)):
        return _plan_insert(text)
    tokens = _single(scan(text))
    if not tokens:
        raise EngineError(Codes.SYNTAX_ERROR, "Syntax error: empty query")
    _refuse_outfile(tokens)
    answering = first in _ANSWERING
    format_at = _format_position(tokens)
    end = tokens[-1].end
    kills = first == "KILL"
    if format_at >= 0:
        name = tokens[format_at + 1]
        return Plan(
            kind=Kind.ANSWER if answering else Kind.COMMAND,
            verb=first,
            text=text[: tokens[format_at].start].rstrip(),
            tail=text[name.end : end].strip(),
            format=name.text.strip('`"'),
            streamed=first in _STREAMED,
            kills=kills,
        )
    return Plan(
        kind=Kind.ANSWER if answering else Kind.COMMAND,
        verb=first,
        text=text[:end],
        streamed=first in _STREAMED,
        kills=kills,
    )


def insert_from_file(text: str, path: str, rows_format: str) -> str:
    """An INSERT without rows as one that reads them from a file; its SETTINGS stay at the end.

    This, and not chDB's own insert stream, because the stream reports success although the rows
    could not be written (a full disk, a limit, a failed feed), measured on chdb-core 26.9.0.
    """
    tokens = scan(text)
    place = len(text)
    for before, token in pairwise(tokens):
        named = before.text == "." or before.upper in {"INTO", "TABLE"}
        if token.depth == 0 and token.is_keyword and token.upper == "SETTINGS" and not named:
            place = token.start
            break
    head, tail = text[:place].rstrip(), text[place:]
    return f"{head} FROM INFILE '{path}' {tail} FORMAT {rows_format}"


def is_insert(text: str) -> bool:
    """Whether the statement is an INSERT, also one that begins with WITH."""
    first = _first(text)
    if first != "WITH":
        return first == "INSERT"
    inserting = False
    for token in _lazy(text):
        if token.depth == 0 and token.is_keyword:
            if inserting and token.upper == "INTO":
                return True
            if token.upper == "SELECT":
                return False
            inserting = token.upper == "INSERT"
    return False


def _first(text: str) -> str:
    position = 0
    while (match := _TOKEN.match(text, position)) is not None:
        if match.lastgroup != "space":
            return match.group().upper()
        position = match.end()
    return ""


def _single(tokens: list[Token]) -> list[Token]:
    while tokens and tokens[-1].text == ";":
        tokens = tokens[:-1]
    for token in tokens:
        if token.text == ";" and token.depth == 0:
            raise EngineError(Codes.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed)")
    return tokens


def _refuse_outfile(tokens: list[Token]) -> None:
    for token, following in pairwise(tokens):
        if token.depth == 0 and token.upper == "INTO" and following.upper == "OUTFILE":
            raise EngineError(
                Codes.INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed over HTTP"
            )


def _format_position(tokens: list[Token]) -> int:
    """The index of the trailing FORMAT keyword, or -1: after its name only SETTINGS may follow."""
    for index in range(len(tokens) - 2, 0, -1):
        token, name = tokens[index], tokens[index + 1]
        if token.depth or token.upper != "FORMAT" or not token.is_keyword:
            continue
        after = tokens[index + 2] if index + 2 < len(tokens) else None
        if name.kind in {"word", "quoted"} and (after is None or after.upper == "SETTINGS"):
            return index
        return -1
    return -1


def _plan_insert(text: str) -> Plan:
    """Find where an INSERT ends and its rows begin.

    A query source (SELECT) makes it an ordinary command unless `input(…)` wants the body; FORMAT
    and VALUES begin the rows, which follow in the text or in the body.
    """
    begun = seen_target = False
    previous: Token | None = None
    for token in _lazy(text):
        begun = begun or (token.depth == 0 and token.upper == "INSERT")
        if not begun:
            continue
        if token.depth == 0 and token.is_keyword and seen_target:
            word = token.upper
            if word in {"SELECT", "WITH"} or (word == "FROM" and previous and previous.text != "."):
                return _plan_insert_select(text, token)
            if word == "VALUES":
                return Plan(
                    kind=Kind.INSERT,
                    verb="INSERT",
                    text=text[: token.start].rstrip(),
                    format="Values",
                    data_start=token.end,
                )
            if word == "FORMAT":
                return _plan_insert_format(text, token)
        elif token.text == "(" and token.depth == 0 and seen_target and _selects(text, token.end):
            return _plan_insert_select(text, token)
        if token.upper not in {"INSERT", "INTO", "TABLE", "FUNCTION"}:
            seen_target = True
        previous = token
    tokens = _single(scan(text))
    return Plan(kind=Kind.INSERT, verb="INSERT", text=text[: tokens[-1].end], data_start=len(text))


def _lazy(text: str, position: int = 0) -> Iterator[Token]:
    depth = 0
    while (match := _TOKEN.match(text, position)) is not None:
        position = match.end()
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        piece = match.group()
        if piece in _CLOSING:
            depth -= 1
        yield Token(kind=kind, text=piece, start=match.start(), end=match.end(), depth=depth)
        if piece in _OPENING:
            depth += 1


def _selects(text: str, position: int) -> bool:
    return _first(text[position : position + 4096]) in {"SELECT", "WITH"}


def _plan_insert_select(text: str, source: Token) -> Plan:
    """An INSERT from a query; with `input(…)` the rows follow its FORMAT clause."""
    span: tuple[int, int] | None = None
    previous = source
    for token in _lazy(text, source.start):
        if token.text == "(" and previous.is_keyword and previous.upper == "INPUT":
            span = (previous.start, token.end)
        if span is not None and token.upper == "FORMAT" and token.depth == 0:
            return msgspec.structs.replace(
                _plan_insert_format(text, token), kind=Kind.COMMAND, input_span=span
            )
        if previous.upper == "FROM" and token.upper == "INFILE":
            raise EngineError(
                Codes.UNKNOWN_TYPE_OF_QUERY, "Query has infile and was sent directly to server"
            )
        previous = token
    tokens = _single(scan(text))
    return Plan(kind=Kind.COMMAND, verb="INSERT", text=text[: tokens[-1].end], input_span=span)


def _plan_insert_format(text: str, keyword: Token) -> Plan:
    match = _TOKEN.match(text, keyword.end)
    while match is not None and match.lastgroup == "space":
        match = _TOKEN.match(text, match.end())
    if match is None or match.lastgroup not in {"word", "quoted"}:
        raise EngineError(Codes.SYNTAX_ERROR, "Syntax error: FORMAT needs a name")
    name = match.group().strip('`"')
    start = match.end()
    if name.upper() == "VALUES":
        name = "Values"
    # One line break after the name belongs to the statement, everything else to the rows.
    while start < len(text) and text[start] in " \t\r":
        start += 1
    if start < len(text) and text[start] == ";":
        start += 1
    if start < len(text) and text[start] == "\n":
        start += 1
    return Plan(
        kind=Kind.INSERT,
        verb="INSERT",
        text=text[: keyword.start].rstrip(),
        format=name,
        data_start=start,
    )
