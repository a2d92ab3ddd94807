"""The text of an expert's query, and the tree that the engine makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError
from appliance.domain.expert_sql.functions import is_allowed
from appliance.domain.expert_sql.text import CHARACTERS_MAX, REFUSED, read_text
from appliance.domain.expert_sql.tree import check_tree

TABLES = frozenset({"events", "persons"})


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("SELECT 1", "SELECT 1"),
        ("  select 1 ;; ", "  select 1"),
        ("SELECT 1 -- two\n+ 2", "SELECT 1       \n+ 2"),
        ("SELECT /* ; */ 1", "SELECT         1"),
        ("SELECT '-- no', \"/* no */\", `;`", "SELECT '-- no', \"/* no */\", `;`"),
        ("SELECT 'it''s \\' one'", "SELECT 'it''s \\' one'"),
        ("(SELECT 1) UNION ALL (SELECT 2)", "(SELECT 1) UNION ALL (SELECT 2)"),
        ("SELECT `format`, a['b'], 1e-5, 0x1F, 'ä'", "SELECT `format`, a['b'], 1e-5, 0x1F, 'ä'"),
        ("SELECT a / b, x -> x, a ? b : c, d::Int8", "SELECT a / b, x -> x, a ? b : c, d::Int8"),
    ],
)
def test_texts_that_are_taken(sql: str, sent: str) -> None:
    assert read_text(sql) == sent


@pytest.mark.parametrize(
    "sql",
    [
        *("", "DROP TABLE x", "SELECT 1; SELECT 2", "SELECT (1", "SELECT 1)", "SELECT [1)", "(1)"),
        *(
            "SELECT 'open",
            "SELECT /* open",
            "SELECT /* /* */ */ 1",
            "SELECT $a$x$a$",
            "SELECT {a:Int8}",
        ),
        *("SELECT 1 FORMAT CSV", "SELECT 1 SETTINGS a = 1", "SELECT 1 INTO OUTFILE 'x'"),
        *(
            "SELECT `a\nb`",
            "SELECT `a, b: c`",
            "SELECT \u2018x\u2019",
            "SELECT \u00a01",
            "SELECT 1 \\G",
        ),
        *("SELECT * APPLY (sum)", "SELECT 1\0", "SELECT '\0'", "SELECT '\ud800'", "SELECT ``"),
        "SELECT " + "1" * CHARACTERS_MAX,
    ],
)
def test_texts_that_are_refused(sql: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_text(sql)
    assert caught.value.reason == REFUSED


@given(st.text(alphabet="SELECT '`\"()[];-/*\\\n1a,{}$\u2019", max_size=40))
def test_a_taken_text_is_one_balanced_select(rest: str) -> None:
    """Whatever is taken holds no statement end, and brackets close in their order."""
    try:
        sent = read_text("SELECT " + rest)
    except InvalidInputError:
        return
    assert len(sent) <= len("SELECT " + rest)
    assert read_text(sent) == sent, "what was taken is taken again, unchanged"
    again = read_text(f"SELECT * FROM (\n{sent}\n)")
    assert again == f"SELECT * FROM (\n{sent}\n)", "it is the same query within brackets"


def tree(*lines: str) -> list[str]:
    return ["QUERY id: 0", "  PROJECTION", "    LIST id: 1, nodes: 1", *lines]


def refused(*lines: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        check_tree(tree(*lines), TABLES)
    return caught.value.message


def test_a_tree_of_admitted_things() -> None:
    check_tree(
        tree(
            "      FUNCTION id: 2, function_name: countDistinctIf, function_type: ordinary",
            "        ARGUMENTS",
            "          LIST id: 3, nodes: 1",
            "            IDENTIFIER id: 4, identifier: e.system.tables",
            "  JOIN TREE",
            "    JOIN id: 5, strictness: ALL, kind: INNER",
            "      LEFT TABLE EXPRESSION",
            "        IDENTIFIER id: 6, alias: e, identifier: events",
            "      RIGHT TABLE EXPRESSION",
            "        QUERY id: 7, is_subquery: 1, is_cte: 1, cte_name: t",
            "          JOIN TREE",
            "            IDENTIFIER id: 8, identifier: system.one",
            "  ORDER BY",
            "    LIST id: 9, nodes: 1",
            "      SORT id: 10, sort_direction: ASCENDING, with_fill: 0",
            "        EXPRESSION n m",
            "          IDENTIFIER id: 11, identifier: t",
        ),
        TABLES,
    )


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (("  JOIN TREE", "    IDENTIFIER id: 2, identifier: system.tables"), "system.tables"),
        (("  JOIN TREE", "    TABLE_FUNCTION id: 2, table_function_name: file"), "'file'"),
        (("      FUNCTION id: 2, function_name: file, function_type: ordinary",), "'file'"),
        (("      FUNCTION id: 2, function_type: ordinary",), "''"),
        (("      NOVELTY id: 2, function_name: count",), "NOVELTY"),
        (("  NOVELTY",), "NOVELTY"),
        (("  SETTINGS readonly=0",), "SETTINGS"),
        (("      APPLY COLUMN TRANSFORMER id: 2",), "APPLY"),
        (("  PREWHERE",), "PREWHERE"),
        (
            (
                "      QUERY id: 2, is_cte: 1, cte_name: db.events",
                "  JOIN TREE",
                "    IDENTIFIER id: 3, identifier: db.events",
            ),
            "db.events",
        ),
        (
            (
                "      FUNCTION id: 2, function_name: notIn, function_type: ordinary",
                "        ARGUMENTS",
                "          LIST id: 3, nodes: 2",
                "            FUNCTION id: 4, function_name: lower, function_type: ordinary",
                "              ARGUMENTS",
                "                LIST id: 5, nodes: 1",
                "                  IDENTIFIER id: 6, identifier: url",
                "            IDENTIFIER id: 7, identifier: db.profiles",
            ),
            "db.profiles",
        ),
    ],
)
def test_what_a_tree_must_not_have(lines: tuple[str, ...], named: str) -> None:
    assert named in refused(*lines)


@pytest.mark.parametrize("printed", [[], [""], ["CREATE id: 0"], ["1"], ["  LIST id: 0, nodes: 1"]])
def test_no_tree_is_no_query(printed: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        check_tree(printed, TABLES)


@pytest.mark.parametrize("name", ["count", "COUNT", "uniqExactIf", "sumMap", "quantilesArray"])
def test_functions_that_compute(name: str) -> None:
    assert is_allowed(name)


@pytest.mark.parametrize(
    "name",
    ["file", "dictGet", "sumState", "sumMerge", "getSetting", "", "countState", "sleep"],
)
def test_functions_that_do_not(name: str) -> None:
    assert not is_allowed(name)
