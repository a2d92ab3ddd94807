"""Conditions as SQL.

Invariant: every expression here is 0 or 1 for every row, never NULL, so conditions can be negated
and joined freely. Text tests read the text form, number tests the numeric one [insights 5.1].
"""

from typing import Final, LiteralString, Protocol, assert_never

from appliance.domain.insights.dimensions import EventProperty, ProfileProperty, Property
from appliance.domain.insights.filters import (
    AllOf,
    AnyOf,
    Condition,
    DidFirst,
    DidTimes,
    HasId,
    HasTrait,
    IsPerson,
    KindIs,
    NoneOf,
    NumberTest,
    PersonTest,
    TextTest,
)
from appliance.domain.insights.route import DAY_MS
from appliance.domain.insights.spec import Operator, TimeRange
from appliance.storage.clickhouse.columns import number_form, text_form
from appliance.storage.clickhouse.fragment import (
    Fragment,
    fill,
    integer_value,
    join,
    literal,
    number_value,
    text_value,
    texts_value,
)
from appliance.storage.clickhouse.insights.cohorts import (
    members_by_deeds,
    members_by_first_deed,
    members_by_list,
    members_by_trait,
)
from appliance.storage.clickhouse.traits import trait_number, trait_text

WITH_CONSENT: Final[LiteralString] = "NOT startsWith(distinct_id, 'cookieless-')"
"""Rows of visitors who may be counted as people [insights 7]."""

ROLLED_UP_WITH_CONSENT: Final[LiteralString] = "cookieless = 0"
"""The same of the daily roll-up, which keeps no ids."""

_TEXT_TESTS: Final[dict[Operator, LiteralString]] = {
    Operator.EQUALS: "<text> = <value>",
    Operator.NOT_EQUALS: "<text> != <value>",
    Operator.CONTAINS: "position(<text>, <value>) > 0",
    Operator.NOT_CONTAINS: "position(<text>, <value>) = 0",
    Operator.IN: "<text> IN <value>",
    Operator.NOT_IN: "<text> NOT IN <value>",
    Operator.IS_SET: "<text> != ''",
    Operator.IS_NOT_SET: "<text> = ''",
}

_NUMBER_TESTS: Final[dict[Operator, LiteralString]] = {
    Operator.LT: "ifNull(<number> < <low>, false)",
    Operator.LTE: "ifNull(<number> <= <low>, false)",
    Operator.GT: "ifNull(<number> > <low>, false)",
    Operator.GTE: "ifNull(<number> >= <low>, false)",
    Operator.BETWEEN: "ifNull(<number> BETWEEN <low> AND <high>, false)",
    Operator.NOT_BETWEEN: "ifNull(<number> NOT BETWEEN <low> AND <high>, false)",
}


class Reading(Protocol):
    """How the properties of a row are read."""

    def text(self, subject: Property, /) -> Fragment:
        """The text form, empty where the property is absent."""
        ...

    def number(self, subject: Property, /) -> Fragment:
        """The numeric form, NULL where there is none."""
        ...

    def place(self, test: Fragment, subject: Property, /) -> Fragment:
        """The test as an expression over the row, wherever the property is read."""
        ...

    def members(self, test: PersonTest, /) -> Fragment:
        """The distinct ids of the people for whom a test holds."""
        ...


class EventReading:
    """Rows of `events`, which know nothing of profiles."""

    def text(self, subject: Property) -> Fragment:
        return text_form(_of_event(subject))

    def number(self, subject: Property) -> Fragment:
        return number_form(_of_event(subject))

    def place(self, test: Fragment, subject: Property) -> Fragment:  # noqa: ARG002 all are of the row
        return test

    def members(self, test: PersonTest) -> Fragment:
        raise AssertionError(f"rows that know no people are not filtered by them: {test}")


class PeopledReading:
    """Rows of `events` of one project, filtered by the profiles of those who had them.

    A filter on a profile admits the events under the id or an alias of an identified profile that
    passes it, whatever the operator [insights 5.4].
    """

    def __init__(self, project_id: str) -> None:
        self._project_id = project_id
        self._project = text_value(project_id)

    def text(self, subject: Property) -> Fragment:
        if isinstance(subject, ProfileProperty):
            return trait_text(subject.path)
        return text_form(subject)

    def number(self, subject: Property) -> Fragment:
        if isinstance(subject, ProfileProperty):
            return trait_number(subject.path)
        return number_form(subject)

    def place(self, test: Fragment, subject: Property) -> Fragment:
        if not isinstance(subject, ProfileProperty):
            return test
        people = fill(_PEOPLE, project=self._project, test=test)
        return fill(_BY_PEOPLE, project=self._project, people=people, again=people)

    def members(self, test: PersonTest) -> Fragment:
        match test.holds:
            case DidTimes() as did:
                return members_by_deeds(
                    self._project_id,
                    compile_condition(did.condition, self),
                    did.range,
                    times_min=did.times_min,
                    times_max=did.times_max,
                )
            case DidFirst(condition=condition, range=window):
                return members_by_first_deed(
                    self._project_id, compile_condition(condition, self), window
                )
            case HasTrait(test=trait):
                return members_by_trait(self._project_id, self._bare(trait))
            case HasId(ids):
                return members_by_list(self._project_id, ids)
            case _:
                assert_never(test.holds)

    def _bare(self, test: TextTest | NumberTest) -> Fragment:
        """A test of a trait over a row of `profiles` itself."""
        return _text_test(test, self) if isinstance(test, TextTest) else _number_test(test, self)


_PEOPLE: Final = """
SELECT id FROM profiles FINAL
WHERE project_id = <project> AND NOT deleted AND external_id != '' AND <test>
"""

_BY_PEOPLE: Final = """distinct_id IN (
    <people>
    UNION ALL
    SELECT alias_id FROM (
        SELECT alias_id, argMax(profile_id, version) AS owner
        FROM profile_aliases WHERE project_id = <project> GROUP BY alias_id
    ) WHERE owner IN (<again>)
)"""

_EVENTS: Final = EventReading()


def compile_condition(condition: Condition, reading: Reading = _EVENTS) -> Fragment:
    """The condition as an expression over a row, of events where nothing else is said."""
    compiled: Fragment
    match condition:
        case KindIs(kind):
            compiled = fill("kind = <kind>", kind=text_value(kind))
        case TextTest():
            compiled = _compile_text_test(condition, reading)
        case NumberTest():
            compiled = _compile_number_test(condition, reading)
        case IsPerson():
            compiled = literal(WITH_CONSENT)
        case PersonTest():
            compiled = fill("distinct_id IN (<members>)", members=reading.members(condition))
        case NoneOf(inner):
            compiled = fill("NOT (<inner>)", inner=compile_condition(inner, reading))
        case AllOf(conditions):
            compiled = _join(" AND ", conditions, reading) if conditions else literal("true")
        case AnyOf(conditions):
            compiled = _join(" OR ", conditions, reading) if conditions else literal("false")
        case _:
            assert_never(condition)
    return compiled


def compile_window(project_id: str, window: TimeRange) -> Fragment:
    """The rows of a project whose time lies in the half-open range [insights 3.1]."""
    return fill(
        "project_id = <project>"
        " AND occur_time >= fromUnixTimestamp64Milli(<start>, 'UTC')"
        " AND occur_time < fromUnixTimestamp64Milli(<end>, 'UTC')",
        project=text_value(project_id),
        start=integer_value(window.start_ms),
        end=integer_value(window.end_ms),
    )


def compile_days(project_id: str, dimension: str, window: TimeRange) -> Fragment:
    """The rows of the daily roll-up that hold the whole UTC days of the range, by one dimension."""
    return fill(
        "project_id = <project> AND dimension = <dimension>"
        "\n    AND toInt64(day) BETWEEN <first_day> AND <last_day>",
        project=text_value(project_id),
        dimension=text_value(dimension),
        first_day=integer_value(window.start_ms // DAY_MS),
        last_day=integer_value((window.end_ms - 1) // DAY_MS),
    )


def compile_who(
    *, leaves_out_cookieless: bool, with_consent: LiteralString = WITH_CONSENT
) -> Fragment:
    """The rows that are asked about: of everybody, or of visitors who may be counted as people."""
    return literal(with_consent if leaves_out_cookieless else "true")


def _join(
    separator: LiteralString, conditions: tuple[Condition, ...], reading: Reading
) -> Fragment:
    compiled = (compile_condition(condition, reading) for condition in conditions)
    return fill("(<all>)", all=join(separator, compiled))


def _compile_text_test(test: TextTest, reading: Reading) -> Fragment:
    return reading.place(_text_test(test, reading), test.property)


def _text_test(test: TextTest, reading: Reading) -> Fragment:
    template = _TEXT_TESTS[test.operator]
    text = reading.text(test.property)
    if test.operator in {Operator.IN, Operator.NOT_IN}:
        return fill(template, text=text, value=texts_value(test.texts))
    if test.operator in {Operator.IS_SET, Operator.IS_NOT_SET}:
        return fill(template, text=text)
    (value,) = test.texts
    return fill(template, text=text, value=text_value(value))


def _compile_number_test(test: NumberTest, reading: Reading) -> Fragment:
    return reading.place(_number_test(test, reading), test.property)


def _number_test(test: NumberTest, reading: Reading) -> Fragment:
    slots = {"number": reading.number(test.property)}
    slots |= zip(("low", "high"), map(number_value, test.numbers), strict=False)
    return fill(_NUMBER_TESTS[test.operator], **slots)


def _of_event(subject: Property) -> EventProperty:
    assert not isinstance(subject, ProfileProperty), (
        "rows that know no people are not filtered by them"
    )
    return subject
