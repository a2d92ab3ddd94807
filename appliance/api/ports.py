"""What the faces need from the rooms below: the seam that tests fill with their own objects.

Invariant: the faces know these shapes only, never a driver or a statement. The real ones come from
`services/wiring.py`.
"""

from collections.abc import Mapping
from typing import Protocol

from appliance.domain.access.callers import SignedIn
from appliance.domain.access.roles import Role
from appliance.domain.figures import Family
from appliance.domain.ingest.event import Batch
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.people.traits import Properties
from appliance.gen.shared.insights.v1.insights_pb import (
    QueryRequest,
    QueryResponse,
    SegmentUsersRequest,
    SegmentUsersResponse,
)
from appliance.services.activity import ActivityService
from appliance.services.alerts.service import AlertsService
from appliance.services.annotations import AnnotationsService
from appliance.services.cohorts import CohortsService
from appliance.services.compat import CompatService
from appliance.services.control import ControlPlane
from appliance.services.dashboards.desk import DashboardDesk
from appliance.services.discovery import DiscoveryService
from appliance.services.live import LiveService
from appliance.services.people import PeopleService
from appliance.services.query_desk import QueryDesk


class Principal(Protocol):
    """Who a credential stands for."""

    @property
    def project_id(self) -> str: ...

    @property
    def timezone(self) -> str: ...


class Receipt(Protocol):
    """What became of a batch; `accepted + dropped` is the number sent [services 8]."""

    @property
    def accepted(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    @property
    def dropped_by_reason(self) -> Mapping[str, int]: ...


class Keys(Protocol):
    """API keys."""

    async def resolve(self, token: str, /) -> Principal | None:
        """Whose key this is; None for a key that is not ours. Raises UnavailableError."""
        ...


class Access(Protocol):
    """Customers and their roles."""

    async def signed_in(self, token: str, project_id: str | None, /) -> SignedIn | None:
        """Whose access token this is; None when it does not hold. Raises UnavailableError."""
        ...

    async def role(self, org_id: str, customer_id: str, /) -> Role | None:
        """A customer's role in an organisation; None for strangers. Raises UnavailableError."""
        ...


class Ingest(Protocol):
    """Where decoded batches go; `counts` holds the chain's counters by metric and label value."""

    @property
    def counts(self) -> Mapping[tuple[str, str], int]: ...

    def admit(self, principal: Principal, /) -> None:
        """Return when a batch would be taken; raises what says why not, before it is read."""
        ...

    async def accept(self, principal: Principal, batch: Batch, facts: RequestFacts, /) -> Receipt:
        """Check, enrich and hand over a batch; returning means it is safe."""
        ...


class Identify(Protocol):
    """Where calls go that name a person; `counts` holds their counters by metric and label."""

    @property
    def counts(self) -> Mapping[tuple[str, str], int]: ...

    async def accept(
        self,
        principal: Principal,
        /,
        *,
        external_id: str,
        traits: Properties,
        anonymous_id: str = "",
        device_id: str = "",
    ) -> None:
        """Hand a call over; returning means it is safe."""
        ...


class Insights(Protocol):
    """Answers about many events; `counts` says how many were kept ones, by metric and outcome."""

    @property
    def counts(self) -> Mapping[tuple[str, str], int]: ...

    async def query(self, principal: Principal, request: QueryRequest, /) -> QueryResponse:
        """Answer one validated insight request."""
        ...

    async def people_behind(
        self, principal: Principal, request: SegmentUsersRequest, /
    ) -> SegmentUsersResponse:
        """One page of the ids behind a number."""
        ...


class Disk(Protocol):
    """How full the disk of the stores is."""

    @property
    def free_bytes(self) -> int: ...

    @property
    def reserve_bytes(self) -> int: ...

    @property
    def refused(self) -> int: ...


class Services(Protocol):
    """Everything the faces use."""

    @property
    def keys(self) -> Keys: ...

    @property
    def ingest(self) -> Ingest: ...

    @property
    def identify(self) -> Identify: ...

    @property
    def compat(self) -> CompatService: ...

    @property
    def insights(self) -> Insights: ...

    @property
    def cohorts(self) -> CohortsService: ...

    @property
    def annotations(self) -> AnnotationsService: ...

    @property
    def alerts(self) -> AlertsService: ...

    @property
    def people(self) -> PeopleService: ...

    @property
    def dashboards(self) -> DashboardDesk: ...

    @property
    def activity(self) -> ActivityService: ...

    @property
    def discovery(self) -> DiscoveryService: ...

    @property
    def live(self) -> LiveService: ...

    @property
    def queries(self) -> QueryDesk: ...

    @property
    def control(self) -> ControlPlane: ...

    async def figures(self) -> tuple[Family, ...]:
        """The numbers of the stages behind the faces; what cannot be had in time is missing."""
        ...

    def disk(self) -> Disk:
        """How full the disk is, and how many batches that cost."""
        ...

    async def open(self) -> None:
        """Begin to connect; never fails because a store is down."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def readiness(self) -> Mapping[str, bool]:
        """Whether each store answers, by the names of [services 2.6]."""
        ...
