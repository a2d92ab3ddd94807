"""The fifty to eighty properties of a PostHog event, sorted: ours, the sender's own, noise.

Invariant: what begins with `$` there either becomes one of our auto properties, is left out because
it speaks about the client and not about what happened, or loses its `$`. Addresses and user agents
are left out always [ingestion 4.6].
"""

import re
from typing import Final

from appliance.domain.compat.mapped import put
from appliance.domain.compat.reading import (
    JsonObject,
    as_list,
    as_object,
    read_number,
    read_properties,
    read_text,
    read_value,
)
from appliance.domain.ingest.event import Properties
from appliance.domain.ingest.user_agent import read_user_agent
from appliance.domain.ingest.validate import TEXT_CHARACTERS_MAX

_AUTO: Final = {
    "$current_url": "$url",
    "$referrer": "$referrer",
    "$pathname": "$pathname",
    "$host": "$hostname",
    "$os_version": "$osVersion",
    "$device": "$device",
    "$browser_language": "$locale",
    "$locale": "$locale",
    "$timezone": "$timezone",
    "$lib": "$lib",
    "$lib_version": "$sdkVersion",
    "$app_name": "$appName",
    "$app_namespace": "$appPackage",
    "$app_version": "$appVersion",
    "$app_build": "$appBuild",
    "$device_manufacturer": "$deviceManufacturer",
    "$device_model": "$deviceModel",
    "$geoip_country_code": "$country",
    "$geoip_subdivision_1_name": "$region",
    "$geoip_city_name": "$city",
    "utm_source": "$utmSource",
    "utm_medium": "$utmMedium",
    "utm_campaign": "$utmCampaign",
    "utm_content": "$utmContent",
    "utm_term": "$utmTerm",
    "gclid": "$gclid",
    "fbclid": "$fbclid",
    "msclkid": "$msclkid",
}
_NUMBERS: Final = {"$screen_width": "$screenWidth", "$screen_height": "$screenHeight"}
_BROWSERS: Final = {
    "Chrome": "Google Chrome",
    "Chrome iOS": "Chrome Mobile iOS",
    "Mobile Safari": "Safari",
    "Internet Explorer": "IE",
}
"""PostHog's names where ours differ: one browser, one bucket [ingestion 6]."""
_SYSTEMS: Final = {"Mac OS X": "macOS", "Ubuntu": "Linux"}
_WEB: Final = "web"
_PLATFORMS: Final = {
    "web": _WEB,
    "js": _WEB,
    "posthog-ios": "ios",
    "posthog-android": "android",
    "posthog-flutter": "flutter",
    "posthog-react-native": "react-native",
}
_PAGE_VIEW: Final = "$pageview"
_EXCEPTION: Final = "$exception"
_ELEMENTS: Final = frozenset({"$autocapture", "$rageclick", "$dead_click"})
_ELEMENT: Final = re.compile(r"(?P<tag>[a-zA-Z0-9-]+)(?:\.(?P<classes>[^:;\"]*))?")
_ATTRIBUTE: Final = re.compile(r'(?P<name>attr__id|text)="(?P<value>(?:[^"\\]|\\.)*)"')
_ELEMENT_CHARACTERS_MAX: Final = 4096
_TEXT_CHARACTERS_MAX: Final = 50

_CLIENT_FACTS: Final = frozenset(
    {
        *_AUTO,
        *_NUMBERS,
        *("token", "distinct_id"),
        *("$browser", "$browser_version", "$os", "$device_type"),
        *("$insert_id", "$time", "$window_id", "$device_id", "$session_id", "$user_id"),
        *("$is_identified", "$process_person_profile", "$anon_distinct_id", "$is_server"),
        *("$set", "$set_once", "$unset", "$groups", "$cookieless_mode", "$cookieless_extra"),
        *("$ip", "$raw_user_agent", "$useragent", "$user_agent", "$geoip_disable"),
        *("$referring_domain", "$active_feature_flags", "$had_persisted_distinct_id"),
        *("$event_type", "$ce_version", "$elements", "$elements_chain", "$el_text"),
        *("$pageview_id", "$lib_custom_api_host", "$lib_rate_limit_remaining_tokens"),
        *("$python_runtime", "$python_version", "$os_distro", "$viewport_width"),
        *("$viewport_height", "$browser_language_prefix", "$timezone_offset", "$sent_at"),
        *("$is_emulator", "$is_testflight", "$is_sideloaded", "$transformations_succeeded"),
    }
)
_CLIENT_PREFIXES: Final = (
    "$sdk_",
    "$configured_",
    "$config_",
    "$initial_",
    "$client_session_initial_",
    "$session_entry_",
    "$session_recording_",
    "$recording_",
    "$replay_",
    "$prev_pageview_",
    "$stored_person_",
    "$geoip_",
    "$web_vitals_",
    "$dead_clicks_",
    "$exception_capture_",
    "$console_log_",
    "$autocapture_disabled_",
    "$capture_",
    "$debug_",
    "$network_",
)


def auto_properties(name: str, properties: JsonObject, *, server: bool) -> Properties:
    """Our auto properties among PostHog's; `server`: the request does not come from a visitor."""
    found: Properties = {}
    for source, key in _AUTO.items():
        text = read_text(properties.get(source))
        if text is not None and text != "$direct":
            found[key] = text[:TEXT_CHARACTERS_MAX]
    for source, key in _NUMBERS.items():
        put(found, key, read_number(properties.get(source)))
    title = read_text(properties.get("title")) if name == _PAGE_VIEW else None
    put(found, "$pageTitle", title and title[:TEXT_CHARACTERS_MAX])
    if server:
        # What a server says about its own system would be counted as the visitor's.
        found.pop("$osVersion", None)
        found["$platform"] = "server"
        _put_agent(found, properties)
    else:
        put(found, "$platform", _PLATFORMS.get(read_text(properties.get("$lib")) or ""))
        _put_browser(found, properties)
    return found


def _put_agent(found: Properties, properties: JsonObject) -> None:
    agent = read_text(properties.get("$raw_user_agent")) or read_text(properties.get("$useragent"))
    for key, value in read_user_agent(agent or "").properties:
        found.setdefault(key, value)


def _put_browser(found: Properties, properties: JsonObject) -> None:
    browser = read_text(properties.get("$browser"))
    if browser is not None:
        found["$browser"] = _BROWSERS.get(browser, browser)[:TEXT_CHARACTERS_MAX]
    version = read_number(properties.get("$browser_version"))
    if browser is not None and version is not None and version >= 0:
        found["$browserVersion"] = f"{int(version)}"[:TEXT_CHARACTERS_MAX]
    system = read_text(properties.get("$os"))
    if system is not None:
        found["$os"] = _SYSTEMS.get(system, system)[:TEXT_CHARACTERS_MAX]
    form = read_text(properties.get("$device_type"))
    if form is not None:
        found["$mobile"] = form == "Mobile"


def custom_properties(name: str, event: JsonObject, properties: JsonObject) -> Properties:
    """The sender's own properties, and what the event of this name is about."""
    dropped = frozenset(
        key for key in properties if key in _CLIENT_FACTS or key.startswith(_CLIENT_PREFIXES)
    )
    if name == _PAGE_VIEW:
        dropped |= {"title"}
    found = read_properties(properties, without=dropped)
    for group, key in as_object(properties.get("$groups")).items():
        value = read_value(key)
        if value is not None:
            found.setdefault(f"group_{group}", value)
    if name == "$screen" and "screen_name" in found:
        found["screenName"] = found.pop("screen_name")
    if name in _ELEMENTS:
        _put_element(found, event, properties)
    if name == _EXCEPTION:
        _put_exception(found, properties)
    return found


def _put_exception(found: Properties, properties: JsonObject) -> None:
    """What broke, under the names of `error_occurred`."""
    listed = as_list(properties.get("$exception_list"))
    first = as_object(listed[0] if listed else None)
    for source, older, key in (
        ("type", "$exception_type", "errorCode"),
        ("value", "$exception_message", "message"),
    ):
        text = read_text(first.get(source)) or read_text(properties.get(older))
        put(found, key, text and text[:TEXT_CHARACTERS_MAX])


def _put_element(found: Properties, event: JsonObject, properties: JsonObject) -> None:
    """The innermost element, told as our own clients tell it [sdk-protocol 7]."""
    elements = as_list(properties.get("$elements")) or as_list(event.get("elements"))
    chain = read_text(properties.get("$elements_chain"))
    told: dict[str, object] = {}
    if elements:
        element = as_object(elements[0])
        classes = [read_text(each) or "" for each in as_list(element.get("classes"))]
        told = {
            "tag": element.get("tag_name"),
            "id": element.get("attr__id"),
            "class": " ".join(classes) or element.get("attr__class"),
            "text": element.get("$el_text"),
        }
    elif chain is not None:
        told = _read_chain(chain[:_ELEMENT_CHARACTERS_MAX])
    told.setdefault("text", None)
    told["text"] = told["text"] or properties.get("$el_text")
    for key, value in told.items():
        text = read_text(value)
        limit = _TEXT_CHARACTERS_MAX if key == "text" else TEXT_CHARACTERS_MAX
        if text is not None:
            found.setdefault(key, text[:limit])


def _read_chain(chain: str) -> dict[str, object]:
    """Tag, classes, id and text of the first element of a chain."""
    start = _ELEMENT.match(chain)
    if start is None:
        return {}
    told: dict[str, object] = {
        "tag": start["tag"],
        "class": (start["classes"] or "").replace(".", " "),
    }
    first = chain.partition(";")[0] if '"' not in chain.partition(";")[0] else chain
    for attribute in _ATTRIBUTE.finditer(first):
        told.setdefault("id" if attribute["name"] == "attr__id" else "text", attribute["value"])
    return told
