"""From found values to Settings, complaining about everything at once.

Invariant: either every value was understood and the tree is whole, or MisconfiguredError carries
*all* problems with key, origin, what was found and what is expected [configuration 1].
"""

import base64
import binascii
import difflib
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from itertools import starmap
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from appliance.base.errors import ApplianceError, MisconfiguredError, Violation
from appliance.base.units import Bytes, Seconds
from appliance.config.endpoints import resolve_clickhouse, resolve_postgres
from appliance.config.model import NetworkSettings, Section, Settings
from appliance.config.oidc import oidc_slips
from appliance.config.people import EmailSettings
from appliance.config.schema import Leaf, leaf_by_key, leaves
from appliance.config.secrets import Secret
from appliance.config.sources import Candidate, Collected, Origin, OriginKind, collect

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_EMPTY_MEANS_UNSET: Final = frozenset(
    {
        "nats.jwt",
        "nats.seed",
        "nats.creds_file",
        "email.resend_api_key",
        "email.ses_secret_access_key",
        "email.ses_session_token",
        "email.smtp.password",
        "email.provider_secret_key",
    }
)
_MAIL_KEY_BYTES: Final = 32
_UNDERSTOOD: Final = Origin(kind=OriginKind.DEFAULT)

Tree = TypeVar("Tree", bound=msgspec.Struct)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with the settings."""

    key: str
    origin: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key} ({self.origin}): found {self.found}, expected {self.expected}"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings with the origin of every value, the problems, and names without effect."""

    settings: Settings
    origins: dict[str, Origin]
    problems: tuple[Problem, ...]
    without_effect: tuple[str, ...]


def load_settings(
    *, config_file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]
) -> Settings:
    """The settings of this process.

    Raises MisconfiguredError with every problem as a violation.
    """
    loaded = inspect_settings(config_file=config_file, environment=environment, flags=flags)
    if loaded.problems:
        raise wrong_settings(loaded.problems)
    return loaded.settings


def inspect_settings(
    *, config_file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]
) -> Loaded:
    """Like `load_settings`, but problems are returned; what could not be understood is default.

    Raises MisconfiguredError only when the file itself cannot be read.
    """
    collected = collect(config_file=config_file, environment=environment, flags=flags)
    problems = list(_unknown(collected))
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    for leaf in leaves():
        candidate = collected.candidates.get(leaf.key)
        if candidate is None or _means_unset(candidate):
            continue
        try:
            values[leaf.key] = _convert(leaf, candidate)
            origins[leaf.key] = candidate.origin
        except (ValueError, msgspec.ValidationError) as error:
            problems.append(_problem(leaf, candidate, error))
    settings = _build(Settings, "", values)
    settings = msgspec.structs.replace(
        settings,
        data_dir=settings.data_dir.expanduser().absolute(),
        secrets_dir=settings.secrets_dir and settings.secrets_dir.expanduser().absolute(),
    )
    problems.extend(_cross_check(settings, origins))
    return Loaded(
        settings=settings,
        origins=origins,
        problems=tuple(problems),
        without_effect=collected.without_effect,
    )


def wrong_settings(problems: tuple[Problem, ...]) -> MisconfiguredError:
    """All problems (at least one) as one error; its sentence names the first."""
    first = next(iter(problems))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return MisconfiguredError(
        "CONFIG_INVALID",
        f"{first}{more}",
        hint="`pug-appliance config check` lists every problem",
        violations=tuple(
            Violation(field=problem.key, description=str(problem)) for problem in problems
        ),
    )


def _means_unset(candidate: Candidate) -> bool:
    return candidate.found == "" and candidate.key in _EMPTY_MEANS_UNSET


def _convert(leaf: Leaf, candidate: Candidate) -> object:
    found = candidate.found
    lax = candidate.origin.kind in {OriginKind.ENVIRONMENT, OriginKind.FLAG}
    if lax and isinstance(found, str):
        found = _from_text(leaf, found)
    return msgspec.convert(
        found,
        leaf.annotation,
        strict=not lax,
        dec_hook=_decode_own_type,
    )


def _from_text(leaf: Leaf, text: str) -> object:
    if leaf.kind is bool:
        if text in _TRUE | _FALSE:
            return text in _TRUE
        raise ValueError(text)
    if leaf.element is not None:
        return msgspec.json.decode(text) if text.strip() else []
    if leaf.kind is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if not text and leaf.kind is not str:
        raise ValueError(text)
    return text


def _decode_own_type(kind: type, found: object) -> object:
    if kind in {Seconds, Bytes, Secret, Path}:
        if not isinstance(found, str) or not found:
            raise ValueError(found)
        if issubclass(kind, Seconds | Bytes):
            return kind.parse(found)
        return Secret(found) if kind is Secret else Path(found)
    raise NotImplementedError(kind)


def _problem(leaf: Leaf, candidate: Candidate, error: Exception) -> Problem:
    shown = "[REDACTED]" if leaf.secret and candidate.found else repr(candidate.found)
    # A missing unit is the likeliest slip, and a unit's error text lists what would do.
    expected = leaf.expected
    if leaf.kind in {Seconds, Bytes} and str(error).startswith("a number with"):
        expected = f"{leaf.expected} ({error})"
    if leaf.element is not None:
        expected = f"{leaf.expected} ({_without_values(error)})"
    return Problem(
        key=leaf.key,
        origin=str(candidate.origin),
        found=shown if candidate.found != "" else "nothing",
        expected=expected,
    )


def _without_values(error: Exception) -> str:
    """What is wrong and where, for a list that holds secrets."""
    if isinstance(error, msgspec.ValidationError):
        return str(error)  # names members and places, no values
    return "this is no JSON" if isinstance(error, msgspec.DecodeError) else "not understood"


def _unknown(collected: Collected) -> Iterator[Problem]:
    known = leaf_by_key()
    strange = [
        candidate for candidate in collected.candidates.values() if candidate.key not in known
    ]
    for candidate in (*strange, *collected.unknown):
        if candidate.origin.kind is OriginKind.ENVIRONMENT:
            names = [name for leaf in leaves() for name in leaf.environment]
        else:
            names = list(known)
        close = difflib.get_close_matches(candidate.key, names, n=1)
        yield Problem(
            key=candidate.key,
            origin=str(candidate.origin),
            found="an unknown key",
            expected=f"perhaps {close[0]}" if close else "a key of `pug-appliance config show`",
        )


def _build(section: type[Tree], prefix: str, values: Mapping[str, object]) -> Tree:
    chosen: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        key = f"{prefix}{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, Section):
            chosen[field.name] = _build(field.type, f"{key}.", values)
        elif key in values:
            chosen[field.name] = values[key]
    return section(**chosen)


def _cross_check(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[Problem]:
    def problem(key: str, found: str, expected: str) -> Problem:
        origin = origins.get(key, _UNDERSTOOD)
        return Problem(key=key, origin=str(origin), found=found, expected=expected)

    if (settings.nats.jwt is None) != (settings.nats.seed is None):
        yield problem("nats.jwt", "one of jwt and seed", "both or neither")
    nowhere = Path("/")
    for key, resolve in (
        ("postgres.url", resolve_postgres),
        ("clickhouse.url", resolve_clickhouse),
    ):
        if key in origins:
            try:
                resolve(settings, 0, nowhere)
            except (ApplianceError, ValueError) as error:
                hint = error.hint if isinstance(error, ApplianceError) else "a URL"
                yield problem(key, "[REDACTED]", hint)
    if settings.email.provider_secret_key is not None and not _is_mail_key(
        settings.email.provider_secret_key
    ):
        yield problem("email.provider_secret_key", "[REDACTED]", "base64 of exactly 32 bytes")
    yield from _mail_slips(settings.email, problem)
    yield from starmap(problem, oidc_slips(settings.oidc))
    if settings.tls.key is not None and settings.tls.certificate is None:
        yield problem("tls.key", str(settings.tls.key), "tls.certificate beside it")
    yield from _network_slips(settings.network, problem)
    yield from _port_clashes(settings, problem)


def _mail_slips(
    email: EmailSettings, problem: Callable[[str, str, str], Problem]
) -> Iterator[Problem]:
    """What cannot work; what is merely missing leaves mail off, and `mail test` names it."""
    for name, text in (("sender", email.sender), ("reply_to", email.reply_to)):
        if text and text.count("@") != 1:
            yield problem(f"email.{name}", repr(text), "an e-mail address")
    for name, text in (
        ("dashboard_base_url", email.dashboard_base_url),
        ("logo_url", email.logo_url),
        ("resend_url", email.resend_url),
        ("ses_url", email.ses_url),
    ):
        if text and not text.startswith(("http://", "https://")):
            yield problem(f"email.{name}", repr(text), "an address that begins with https://")
    if bool(email.smtp.user) != (email.smtp.password is not None):
        yield problem("email.smtp.user", "one of user and password", "both or neither")


def _network_slips(
    network: NetworkSettings, problem: Callable[[str, str, str], Problem]
) -> Iterator[Problem]:
    lists = {"outgoing": network.outgoing, "trusted_proxies": network.trusted_proxies}
    for key, texts in lists.items():
        for text in texts:
            if not _is_network(text):
                yield problem(f"network.{key}", repr(text), 'networks like "10.1.2.0/24"')


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_mail_key(secret: Secret) -> bool:
    try:
        return len(base64.b64decode(secret.reveal(), validate=True)) == _MAIL_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _port_clashes(
    settings: Settings, problem: Callable[[str, str, str], Problem]
) -> Iterator[Problem]:
    ports = {
        "api.port": settings.api.port,
        **({} if settings.api.grpc_port is None else {"api.grpc_port": settings.api.grpc_port}),
        "postgres.port": settings.postgres.port,
        "nats.port": settings.nats.port,
        "nats.monitor_port": settings.nats.monitor_port,
        "clickhouse.port": settings.clickhouse.port,
    }
    seen: dict[int, str] = {}
    for key, port in ports.items():
        if settings.installed and not port:
            yield problem(key, "0", "a port: under systemd the units hold it")
        if port and port in seen:
            yield problem(key, str(port), f"a port other than that of {seen[port]}")
        seen[port] = key
