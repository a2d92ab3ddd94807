"""What other products' clients want to hear [compat-ingest 1, 2].

Invariant: whatever they ask to be configured with, they are told to send events here and to switch
off what is not served: session recordings, surveys, flags.
"""

from typing import Final

import msgspec

from appliance.api.protocols import Answer, Headers

_JSON: Final[Headers] = [(b"content-type", b"application/json")]
_UPDATED_AT: Final = "1970-01-01T00:00:00.000Z"

SEGMENT_SUCCESS: Final = {"success": True}
POSTHOG_SUCCESS: Final = {"status": 1}
POSTHOG_V1_SUCCESS: Final[dict[str, object]] = {"results": []}

POSTHOG_CONFIG: Final[dict[str, object]] = {
    "supportedCompression": ["gzip", "gzip-js"],
    "hasFeatureFlags": False,
    "autocapture_opt_out": False,
    "sessionRecording": False,
    "surveys": False,
    "siteApps": [],
    "capturePerformance": False,
    "captureDeadClicks": False,
    "heatmaps": False,
}
"""Without `autocapture_opt_out` nothing would be captured by itself."""

POSTHOG_FLAGS: Final[dict[str, object]] = {
    **POSTHOG_CONFIG,
    "featureFlags": {},
    "featureFlagPayloads": {},
    "flags": {},
    "errorsWhileComputingFlags": False,
}


def reply(content: object) -> Answer:
    """A JSON answer."""
    return Answer(status=200, headers=_JSON, body=msgspec.json.encode(content))


def segment_settings(write_key: str, host: str, *, secure: bool) -> dict[str, object]:
    """The settings that Segment's browser client loads: one destination, which is us."""
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": write_key,
                "apiHost": f"{host}/v1",
                "protocol": "https" if secure else "http",
                "addBundledMetadata": True,
                "unbundledIntegrations": [],
            }
        },
        "plan": {},
        "enabledMiddleware": {},
    }


def rudder_source(write_key: str) -> dict[str, object]:
    """The source that RudderStack's browser client loads: nothing to send anywhere else."""
    switched_off = {"enabled": False}
    return {
        "source": {
            "id": "pug",
            "name": "pug",
            "writeKey": write_key,
            "enabled": True,
            "workspaceId": "pug",
            "config": {"statsCollection": {"errors": switched_off, "metrics": switched_off}},
            "destinations": [],
            "connections": [],
            "dataplanes": {},
        },
        "updatedAt": _UPDATED_AT,
    }
