"""What a unit may do and take: the sandbox, and its share of memory, processors and disk.

Invariant: every service starts from `SANDBOX`; whatever it needs beyond is added where the unit is
written, with the reason. The shares are such that a query can starve or be ended, ingestion cannot.
`docs/hardening.md` explains each to the operator; the exposure is checked in tests.
"""

from pathlib import Path
from typing import Final

from appliance.config.model import Settings
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.unit_file import Value

SANDBOX: Final[dict[str, Value]] = {
    "NoNewPrivileges": True,
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "UMask": "0077",
    "LimitCORE": 0,
    "KeyringMode": "private",
    "LockPersonality": True,
    "MemoryDenyWriteExecute": True,
    "DevicePolicy": "closed",
    "PrivateDevices": True,
    "PrivateTmp": True,
    "PrivateMounts": True,
    "ProtectSystem": "strict",
    "ProtectHome": True,
    "ProtectClock": True,
    "ProtectControlGroups": True,
    "ProtectHostname": True,
    "ProtectKernelLogs": True,
    "ProtectKernelModules": True,
    "ProtectKernelTunables": True,
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "RemoveIPC": True,
    "RestrictNamespaces": True,
    "RestrictRealtime": True,
    "RestrictSUIDSGID": True,
    "SystemCallArchitectures": "native",
    "SystemCallFilter": ("@system-service", "~@resources @privileged"),
    # A library that asks for more than it needs is told no instead of being killed.
    "SystemCallErrorNumber": "EPERM",
}

_WHERE_THERE_IS_ONE: Final = (
    "/bin",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/group",
)
NO_NETWORK: Final[dict[str, Value]] = {
    "PrivateNetwork": True,
    "RestrictAddressFamilies": "AF_UNIX",
    "IPAddressDeny": "any",
}
"""Not even loopback; sockets that systemd holds for a service are not affected."""


def loopback_only(outgoing: tuple[str, ...] = ()) -> dict[str, Value]:
    """The kernel drops every packet that does not stay here, but for the operator's networks."""
    return {"IPAddressDeny": "any", "IPAddressAllow": ("localhost", *outgoing)}


def own_root(layout: Layout, *folders: Path) -> dict[str, Value]:
    """A root folder with the programs, the account names and these folders, and nothing else."""
    seen = ("/usr", str(layout.prefix), *(f"-{path}" for path in _WHERE_THERE_IS_ONE))
    return {
        "RootDirectory": str(layout.sandbox),
        "BindReadOnlyPaths": " ".join(seen),
        **({"BindPaths": " ".join(map(str, folders))} if folders else {}),
        **({"ReadWritePaths": " ".join(map(str, folders))} if folders else {}),
    }


def root_tool(*capabilities: str) -> dict[str, Value]:
    """The sandbox of an operation that must be root: it changes files of several accounts."""
    return SANDBOX | {
        "CapabilityBoundingSet": " ".join(capabilities),
        # Programs of the engines are started for verification and restore as their accounts.
        "SystemCallFilter": ("@system-service",),
        "ProtectProc": "default",
        "ProcSubset": "all",
    }


def engine_share(name: str, settings: Settings) -> dict[str, Value]:
    """How much of the machine an engine may take."""
    shares: dict[str, dict[str, Value]] = {
        "postgres": {"CPUWeight": 300, "IOWeight": 300, "MemoryMax": "50%", "TasksMax": 512},
        "nats": {"CPUWeight": 400, "IOWeight": 400, "MemoryMax": "50%", "TasksMax": 512},
        "clickhouse": {"CPUWeight": 100, "IOWeight": 100, "TasksMax": 4096}
        | _query_memory(settings),
    }
    return shares[name]


def appliance_share() -> dict[str, Value]:
    """How much API and workers may take."""
    return {"CPUWeight": 300, "IOWeight": 200, "MemoryMax": "60%", "TasksMax": 1024}


def _query_memory(settings: Settings) -> dict[str, Value]:
    """Above what the engine allows its queries, because it refuses one more politely."""
    allowed = settings.clickhouse.memory_bytes_max
    if allowed is None:
        return {"MemoryHigh": "65%", "MemoryMax": "70%"}
    high = int(allowed) + int(allowed) // 4 + (384 << 20)
    return {"MemoryHigh": high, "MemoryMax": high + (256 << 20)}
