"""What reads return: a person, identified or derived, and what they did [profiles 4].

Invariant: a person is complete. An anonymous one has an empty external id and no properties; one
without events has no activity.
"""

from msgspec import Struct


class Activity(Struct, frozen=True, kw_only=True):
    """A person's events, summed up over all of their distinct ids [profiles 4.1].

    Times are milliseconds since 1970 UTC; texts are those of the latest event, even when empty.
    """

    first_ms: int
    last_ms: int
    events: int
    page_views: int
    sessions: int
    browser: str = ""
    browser_version: str = ""
    os: str = ""
    os_version: str = ""
    device: str = ""
    country: str = ""
    region: str = ""
    city: str = ""


class Person(Struct, frozen=True, kw_only=True):
    """One person of a project; times are microseconds since 1970 UTC, `properties` JSON text.

    `is_identified` keeps a profile apart from somebody who only has events.
    """

    project_id: str
    id: str
    is_identified: bool = False
    external_id: str = ""
    properties: str = "{}"
    created_us: int
    updated_us: int
    activity: Activity | None = None


class Identity(Struct, frozen=True, kw_only=True):
    """Whose events are meant: a person and, if identified, the name the product gave them."""

    person_id: str
    external_id: str = ""

    @property
    def own_ids(self) -> tuple[str, ...]:
        """The ids besides aliases; an empty id is nobody's."""
        return tuple(each for each in (self.person_id, self.external_id) if each)
