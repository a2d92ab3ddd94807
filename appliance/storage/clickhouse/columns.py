"""How a property is read from a row of `events`: the only place that knows.

Invariant: names of columns come from the closed tables below, keys of maps are bound values. The
slots of the maps are text with a one-letter tag (docs/decisions/0001), so a text form is one
`substring`, and absent reads as the empty text everywhere [insights 4.2].
"""

from typing import Final, LiteralString, assert_never

from appliance.domain.insights.dimensions import (
    AutoProperty,
    CustomProperty,
    EventProperty,
    Promoted,
    PromotedProperty,
)
from appliance.storage.clickhouse.fragment import Fragment, fill, literal, text_value

COLUMNS: Final[dict[Promoted, LiteralString]] = {
    Promoted.BOT_SCORE: "bot_score",
    Promoted.VERIFIED_BOT: "verified_bot",
    Promoted.MOBILE: "mobile",
    Promoted.COUNTRY: "country",
    Promoted.REGION: "region",
    Promoted.CITY: "city",
    Promoted.BROWSER: "browser",
    Promoted.BROWSER_VERSION: "browser_version",
    Promoted.OS: "os",
    Promoted.OS_VERSION: "os_version",
    Promoted.DEVICE: "device",
    Promoted.PLATFORM: "platform",
    Promoted.URL: "url",
    Promoted.UTM_SOURCE: "utm_source",
    Promoted.UTM_MEDIUM: "utm_medium",
    Promoted.UTM_CAMPAIGN: "utm_campaign",
    Promoted.PATHNAME: "pathname",
    Promoted.HOSTNAME: "hostname",
    Promoted.REFERRER: "referrer",
    Promoted.REFERRER_DOMAIN: "referrer_domain",
    Promoted.CHANNEL: "channel",
    Promoted.LOCALE: "locale",
    Promoted.SCREEN_SIZE: "screen_size",
    Promoted.UTM_TERM: "utm_term",
    Promoted.UTM_CONTENT: "utm_content",
    Promoted.PAGE_TITLE: "page_title",
}
"""Column of each promoted property [storage 2.2]."""

TOTAL_DIMENSION: Final[LiteralString] = "$__total__"
"""The dimension of the event roll-up that is not split [storage 3.1]."""

PEOPLE: Final[LiteralString] = "uniq"
"""How distinct ids are counted: the function of the roll-up's state, so both sources agree."""

NO_NUMBER: Final = literal("CAST(NULL, 'Nullable(Float64)')")


def text_form(subject: EventProperty) -> Fragment:
    """The text of a property [insights 4.2]; a bare column where that is possible, for indexes."""
    match subject:
        case PromotedProperty(promoted):
            return _promoted_text(promoted)
        case AutoProperty(key):
            return fill("substring(auto_properties[<key>], 2)", key=text_value(key))
        case CustomProperty(key):
            return fill("substring(custom_properties[<key>], 2)", key=text_value(key))
        case _:
            assert_never(subject)


def number_form(subject: EventProperty) -> Fragment:
    """The number of a property, NULL where there is none [insights 4.3]."""
    match subject:
        case PromotedProperty(Promoted.BOT_SCORE):
            return literal("toFloat64(bot_score)")
        case PromotedProperty(Promoted.MOBILE | Promoted.VERIFIED_BOT):
            return NO_NUMBER
        case PromotedProperty() | AutoProperty() | CustomProperty():
            return number_of_text(text_form(subject))
        case _:
            assert_never(subject)


def number_of_text(text: Fragment) -> Fragment:
    """The number that a text is as a whole, NULL where it is none; never nan or infinite.

    Accepts the same texts as `domain/insights/values.py`: the server's parser takes neither blanks
    nor hexadecimal nor separators.
    """
    return fill(
        "if(isFinite(toFloat64OrNull(<text>)), toFloat64OrNull(<again>), NULL)",
        text=text,
        again=text,
    )


def _promoted_text(promoted: Promoted) -> Fragment:
    if promoted is Promoted.MOBILE:
        return literal("if(mobile, 'true', 'false')")
    if promoted is Promoted.VERIFIED_BOT:
        return literal("multiIf(isNull(verified_bot), '', verified_bot, 'true', 'false')")
    if promoted is Promoted.BOT_SCORE:
        return literal("ifNull(toString(bot_score), '')")
    return literal(COLUMNS[promoted])
