"""Shows clients their own query ids.

chDB numbers every query itself; the client's id travels in a setting (`engine.MARK_SETTING`).
Where a statement reads the process list or the query log, or kills by id, the setting is put in the
place of the column.

Invariant: only table names after FROM or JOIN and the column name in a KILL QUERY condition are
replaced; string literals and everything else stay byte for byte.
"""

from itertools import pairwise
from typing import Final

from appliance.clickhouse_http.engine import MARK_SETTING, OWN_STATEMENT, quote
from appliance.clickhouse_http.statement import Token, scan

_TABLES: Final = frozenset({"processes", "query_log"})
_OWN_ID: Final = f"if(Settings['{MARK_SETTING}'] = '', query_id, Settings['{MARK_SETTING}'])"
_OWN_TEXT: Final = r"replaceRegexpOne(query, '\nINTO OUTFILE \'/proc/self/fd/[0-9]+\' APPEND', '')"


_SHOW_CREATE: Final = (
    "SELECT format('CREATE TABLE system.{{}}\\n(\\n{{}}\\n)\\nENGINE = {{}}', table, "
    "arrayStringConcat(groupArray(format('    `{{}}` {{}}', name, type)), ',\\n'), "
    "(SELECT any(engine) FROM system.tables WHERE database = 'system' AND name = {name})) "
    "AS statement FROM system.columns WHERE database = 'system' AND table = {name} GROUP BY table"
)

_SHOWN: Final = (  # filled with our own constants only
    "(SELECT * REPLACE ({replaced}) FROM system.{table} WHERE NOT startsWith(query, '"  # noqa: S608
    + OWN_STATEMENT
    + "'))"
)


def rewrite_show_create(text: str) -> str | None:
    """A query for what SHOW CREATE TABLE tells of a system table, which chDB keeps no text of."""
    words = [token.text.strip('`"') for token in scan(text)]
    lowered = [word.lower() for word in words]
    if lowered[:3] == ["show", "create", "table"]:
        words = words[3:]
    elif lowered[:2] == ["show", "create"]:
        words = words[2:]
    else:
        return None
    if len(words) != 3 or words[:2] != ["system", "."]:  # noqa: PLR2004 database, dot, table
        return None
    return _SHOW_CREATE.format(name=quote(words[2]))


def rewrite_ids(text: str) -> str:
    """The statement with the client's ids in place of the engine's."""
    lowered = text.lower()
    if not any(name in lowered for name in ("processes", "query_log", "kill")):
        return text
    tokens = scan(text)
    if tokens and tokens[0].upper == "KILL":
        return _rewrite_kill(text, tokens)
    pieces: list[str] = []
    done = 0
    for index in range(1, len(tokens) - 2):
        before, system, dot, table = tokens[index - 1 : index + 3]
        if (
            before.upper in {"FROM", "JOIN"}
            and system.text.strip('`"') == "system"
            and dot.text == "."
            and table.text.strip('`"') in _TABLES
        ):
            name = table.text.strip('`"')
            replaced = f"{_OWN_ID} AS query_id, {_OWN_TEXT} AS query"
            pieces += (
                text[done : system.start],
                _SHOWN.format(replaced=replaced, table=name),
            )
            done = table.end
            if not _has_alias(tokens, index + 3):
                pieces.append(f" AS {name}")
    pieces.append(text[done:])
    return "".join(pieces)


def _has_alias(tokens: list[Token], index: int) -> bool:
    if index >= len(tokens):
        return False
    token = tokens[index]
    if token.upper == "AS":
        return True
    return token.kind == "word" and token.upper not in {
        *("WHERE", "ORDER", "GROUP", "LIMIT", "FORMAT", "SETTINGS", "PREWHERE", "HAVING", "UNION"),
        *("JOIN", "LEFT", "RIGHT", "INNER", "FULL", "CROSS", "ANY", "ALL", "ASOF", "SEMI", "ANTI"),
        *("ARRAY", "FINAL", "SAMPLE", "WINDOW", "QUALIFY", "OFFSET", "INTERSECT", "EXCEPT", "ON"),
        *("USING", "GLOBAL", "INTO"),
    }


def _rewrite_kill(text: str, tokens: list[Token]) -> str:
    if len(tokens) < 2 or tokens[1].upper != "QUERY":  # noqa: PLR2004 KILL and what it kills
        return text
    pieces: list[str] = []
    done = 0
    for before, token in pairwise(tokens):
        # A brace before the name makes it a parameter.
        if before.text != "{" and token.text.strip('`"') == "query_id":
            pieces += (text[done : token.start], _OWN_ID)
            done = token.end
    pieces.append(text[done:])
    return "".join(pieces)


def split_kill(text: str) -> str | None:
    """The condition of a rewritten KILL QUERY; None when it kills something else or only tests."""
    tokens = scan(text)
    where = next((t for t in tokens if t.depth == 0 and t.upper == "WHERE"), None)
    if where is None or tokens[1].upper != "QUERY" or tokens[-1].upper == "TEST":
        return None
    last = tokens[-1]
    end = last.start if last.upper in {"SYNC", "ASYNC"} else last.end
    return text[where.end : end]
