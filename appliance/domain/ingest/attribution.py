"""Attribution: where a visit came from, out of the event's own properties [ingestion 8].

Invariant: a pure function of the auto properties; the two server-only keys never keep what a client
sent. The thirteen channels are frozen, because they become permanent roll-up values. URL rules are
in `web_url.py`.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import Properties
from appliance.domain.ingest.slots import text_of
from appliance.domain.ingest.web_url import ParsedUrl, parse_url, query_values


class Channel(StrEnum):
    """The thirteen channels [ingestion 8.6]."""

    PAID_SEARCH = "Paid Search"
    PAID_SOCIAL = "Paid Social"
    PAID_VIDEO = "Paid Video"
    DISPLAY = "Display"
    PAID_OTHER = "Paid Other"
    ORGANIC_SEARCH = "Organic Search"
    ORGANIC_SOCIAL = "Organic Social"
    ORGANIC_VIDEO = "Organic Video"
    EMAIL = "Email"
    AFFILIATE = "Affiliate"
    REFERRAL = "Referral"
    UNASSIGNED = "Unassigned"
    DIRECT = "Direct"


class Family(StrEnum):
    """A kind of site that sends visitors [ingestion 8.5]."""

    SEARCH = "search"
    SOCIAL = "social"
    VIDEO = "video"


class Known(Struct, frozen=True):
    """What is known of an event before derivation, all as text, absent = empty."""

    url: str = ""
    referrer: str = ""
    hostname: str = ""
    pathname: str = ""
    screen_size: str = ""
    screen_width: str = ""
    screen_height: str = ""
    utm_source: str = ""
    utm_medium: str = ""
    utm_campaign: str = ""
    utm_term: str = ""
    utm_content: str = ""


class Derived(Struct, frozen=True):
    """What could be derived; empty = nothing. The UTM values, path and host are effective ones: the
    client's where it sent a non-empty one.
    """

    pathname: str = ""
    hostname: str = ""
    referrer_domain: str = ""
    channel: str = ""
    screen_size: str = ""
    utm_source: str = ""
    utm_medium: str = ""
    utm_campaign: str = ""
    utm_term: str = ""
    utm_content: str = ""
    url_not_web: bool = False


_DERIVATIONS_CACHED_MAX: Final = 512
"""A batch repeats its page; twelve texts each of 1024 characters make 25 MB at the very worst."""
_LOCALES_CACHED_MAX: Final = 512
_CHANNELS_CACHED_MAX: Final = 1024
_UTM_NAMES: Final = frozenset(
    {"utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"}
)
_DIMENSION: Final = re.compile(r"[+-]?[0-9]{1,19}")
_GOOGLE: Final = re.compile(r"google|(?:.*\.)?google\.[a-z]{2,3}(?:\.[a-z]{2,3})?", re.DOTALL)
_WWW: Final = "www."

_DOMAINS: Final = {
    Family.SEARCH: frozenset(
        [
            "bing.com",
            "duckduckgo.com",
            "yahoo.com",
            "yahoo.co.jp",
            "baidu.com",
            "yandex.com",
            "yandex.ru",
            "ecosia.org",
            "search.brave.com",
            "startpage.com",
            "perplexity.ai",
            "qwant.com",
            "kagi.com",
        ]
    ),
    Family.SOCIAL: frozenset(
        [
            "facebook.com",
            "fb.com",
            "fb.me",
            "messenger.com",
            "instagram.com",
            "twitter.com",
            "x.com",
            "t.co",
            "linkedin.com",
            "lnkd.in",
            "tiktok.com",
            "pinterest.com",
            "pin.it",
            "reddit.com",
            "redd.it",
            "threads.net",
            "bsky.app",
            "news.ycombinator.com",
            "mastodon.social",
            "whatsapp.com",
            "telegram.org",
            "t.me",
        ]
    ),
    Family.VIDEO: frozenset(
        ["youtube.com", "youtu.be", "vimeo.com", "twitch.tv", "dailymotion.com"]
    ),
}
_NAMES: Final = {
    Family.SEARCH: frozenset(
        [
            "google",
            "bing",
            "duckduckgo",
            "ddg",
            "yahoo",
            "baidu",
            "yandex",
            "ecosia",
            "brave",
            "startpage",
            "perplexity",
            "qwant",
            "kagi",
        ]
    ),
    Family.SOCIAL: frozenset(
        [
            "facebook",
            "fb",
            "instagram",
            "ig",
            "twitter",
            "x",
            "linkedin",
            "tiktok",
            "pinterest",
            "reddit",
            "threads",
            "bluesky",
            "bsky",
            "hackernews",
            "hn",
            "whatsapp",
            "telegram",
            "mastodon",
        ]
    ),
    Family.VIDEO: frozenset(["youtube", "yt", "vimeo", "twitch", "dailymotion"]),
}
_PAID_CHANNELS: Final = {
    Family.SEARCH: Channel.PAID_SEARCH,
    Family.SOCIAL: Channel.PAID_SOCIAL,
    Family.VIDEO: Channel.PAID_VIDEO,
}
_PAID_MEDIUMS: Final = frozenset({"ppc", "retargeting"})
_DISPLAY_MEDIUMS: Final = frozenset({"display", "banner", "expandable", "interstitial", "cpm"})
_SOCIAL_MEDIUMS: Final = frozenset({"social", "social-network", "social-media", "sm"})
_EMAIL_WORDS: Final = frozenset({"email", "e-mail", "e_mail", "newsletter"})


def derive(known: Known) -> Derived:
    """Everything that follows from what an event says [ingestion 8.2 to 8.6, 8.8, attribution]."""
    page = parse_url(known.url) if known.url else None
    if page is not None and not page.is_web:
        page = None
    own_host = page.host if page else known.hostname
    referrer_domain, is_signal = _referrer(known.referrer, own_host)
    screen_size = known.screen_size or _screen_size(known.screen_width, known.screen_height)
    if page is None:
        return Derived(
            pathname=known.pathname,
            hostname=known.hostname,
            referrer_domain=referrer_domain,
            screen_size=screen_size,
            utm_source=known.utm_source,
            utm_medium=known.utm_medium,
            utm_campaign=known.utm_campaign,
            utm_term=known.utm_term,
            utm_content=known.utm_content,
            url_not_web=bool(known.url),
        )
    sent = query_values(page.query, _UTM_NAMES) if page.query else {}
    source = known.utm_source or sent.get("utm_source", "")
    medium = known.utm_medium or sent.get("utm_medium", "")
    campaign = known.utm_campaign or sent.get("utm_campaign", "")
    term = known.utm_term or sent.get("utm_term", "")
    content = known.utm_content or sent.get("utm_content", "")
    has_signal = is_signal or any((source, medium, campaign, term, content))
    return Derived(
        pathname=known.pathname or page.path or "/",
        hostname=known.hostname or page.host,
        referrer_domain=referrer_domain,
        channel=classify(
            source.lower(), medium.lower(), referrer_domain, has_signal=has_signal
        ).value,
        screen_size=screen_size,
        utm_source=source,
        utm_medium=medium,
        utm_campaign=campaign,
        utm_term=term,
        utm_content=content,
    )


@lru_cache(maxsize=_CHANNELS_CACHED_MAX)
def classify(source: str, medium: str, referrer_domain: str, *, has_signal: bool) -> Channel:
    """The first row of the channel table that applies; source and medium are lower-cased, and
    `has_signal` says that a UTM value or an unresolvable referrer exists [ingestion 8.6].
    """
    families = [family for family in Family if _belongs(family, source, referrer_domain)]
    if is_paid_medium(medium) and families:
        return _PAID_CHANNELS[families[0]]
    if medium in _DISPLAY_MEDIUMS:
        return Channel.DISPLAY
    if is_paid_medium(medium):
        return Channel.PAID_OTHER
    return _unpaid(source, medium, families) or _by_referrer(referrer_domain, has_signal=has_signal)


def _unpaid(source: str, medium: str, families: list[Family]) -> Channel | None:
    rows = (
        (Family.SEARCH in families or medium == "organic", Channel.ORGANIC_SEARCH),
        (Family.SOCIAL in families or medium in _SOCIAL_MEDIUMS, Channel.ORGANIC_SOCIAL),
        (Family.VIDEO in families or medium == "video", Channel.ORGANIC_VIDEO),
        (source in _EMAIL_WORDS or medium in _EMAIL_WORDS, Channel.EMAIL),
        (medium == "affiliate", Channel.AFFILIATE),
    )
    return next((channel for applies, channel in rows if applies), None)


def _by_referrer(referrer_domain: str, *, has_signal: bool) -> Channel:
    if referrer_domain:
        return Channel.REFERRAL
    return Channel.UNASSIGNED if has_signal else Channel.DIRECT


def is_paid_medium(medium: str) -> bool:
    """Whether a lower-cased medium is paid for [ingestion 8.5, paid_medium]."""
    return "cp" in medium or medium in _PAID_MEDIUMS or medium.startswith("paid")


def is_google(host: str) -> bool:
    """The Google match of a lower-cased host or source [ingestion 8.5, google_host]."""
    return _GOOGLE.fullmatch(host) is not None


def _belongs(family: Family, source: str, referrer_domain: str) -> bool:
    return source in _NAMES[family] or any(
        _is_host_of(family, host) for host in (source, referrer_domain) if host
    )


def _is_host_of(family: Family, host: str) -> bool:
    domains = _DOMAINS[family]
    labels = host.split(".")
    return any(".".join(labels[place:]) in domains for place in range(len(labels))) or (
        family is Family.SEARCH and is_google(host)
    )


def _referrer(referrer: str, own_host: str) -> tuple[str, bool]:
    """The referrer's domain, and whether a referrer that gave none is still a signal."""
    if not referrer:
        return "", False
    parsed: ParsedUrl | None = parse_url(referrer)
    domain = parsed.host.removeprefix(_WWW) if parsed else ""
    if domain and domain == own_host.lower().removeprefix(_WWW):
        return "", False
    return domain, not domain


def _screen_size(width_text: str, height_text: str) -> str:
    width, height = _dimension(width_text), _dimension(height_text)
    return f"{width}x{height}" if width > 0 and height > 0 else ""


def _dimension(text: str) -> int:
    return int(text) if _DIMENSION.fullmatch(text) else 0


@lru_cache(maxsize=_LOCALES_CACHED_MAX)
def normalise_locale(text: str) -> str:
    """A locale with its parts in canonical letter case; empty when nothing is left
    [ingestion 8.7, locale].
    """
    first, *later = text.strip().replace("_", "-").split("-")
    return "-".join([first.lower(), *map(_locale_part, later)])


def _locale_part(part: str) -> str:
    match len(part.encode()):
        case 2:
            return part.upper()
        case 4:
            return part[:1].upper() + part[1:].lower()
        case _:
            return part.lower()


def attribute(properties: Properties) -> bool:
    """Write what follows from an event's own properties into them [ingestion 8.2].

    A derived value is written as text when it is not empty and differs from what is there read as
    text, so an equal value keeps its slot. Returns whether a sent `$url` was no web URL.
    """
    properties.pop("$referrerDomain", None)
    properties.pop("$channel", None)
    sent = [properties.get(key, "") for key in _KNOWN_KEYS]
    known = Known(*[value if type(value) is str else text_of(value) or "" for value in sent])
    changes = _changes(known)
    properties.update(changes.properties)
    if "$locale" in properties:
        _normalise_locale_of(properties)
    return changes.url_not_web


class _Changes(Struct, frozen=True):
    properties: dict[str, str]
    url_not_web: bool


@lru_cache(maxsize=_DERIVATIONS_CACHED_MAX)
def _changes(known: Known) -> _Changes:
    derived = derive(known)
    written = (
        ("$pathname", known.pathname, derived.pathname),
        ("$hostname", known.hostname, derived.hostname),
        ("$referrerDomain", "", derived.referrer_domain),
        ("$channel", "", derived.channel),
        ("$screenSize", known.screen_size, derived.screen_size),
        ("$utmSource", known.utm_source, derived.utm_source),
        ("$utmMedium", known.utm_medium, derived.utm_medium),
        ("$utmCampaign", known.utm_campaign, derived.utm_campaign),
        ("$utmTerm", known.utm_term, derived.utm_term),
        ("$utmContent", known.utm_content, derived.utm_content),
    )
    return _Changes(
        {key: after for key, before, after in written if after and after != before},
        derived.url_not_web,
    )


_KNOWN_KEYS: Final = (
    "$url",
    "$referrer",
    "$hostname",
    "$pathname",
    "$screenSize",
    "$screenWidth",
    "$screenHeight",
    "$utmSource",
    "$utmMedium",
    "$utmCampaign",
    "$utmTerm",
    "$utmContent",
)
"""The properties that derivation reads, in the order of the fields of `Known`."""


def _normalise_locale_of(properties: Properties) -> None:
    before = text_of(properties.get("$locale"))
    if before is None:
        return
    after = normalise_locale(before)
    if after:
        properties["$locale"] = after
    else:
        del properties["$locale"]
