"""The configuration an installation begins with, and the places it names.

Invariant: a configuration that exists is never rewritten. A fresh one is understood as a whole
before anything is changed, and it says in the file itself what it decides.
"""

import os
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import MisconfiguredError, NotFoundError
from appliance.base.files import unwritable
from appliance.config.load import load_settings
from appliance.config.model import Settings, Supervision
from appliance.lifecycle.layout import DEFAULT_PREFIX, Layout, load_layout

DEFAULT_LISTEN: Final = "0.0.0.0"  # noqa: S104 the one public port of a server
DEFAULT_PORT: Final = 8080
_OURS: Final = ("data_dir", "secrets_dir", "supervision")


class InstallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator asked for; None is the default, or what an earlier installation has."""

    prefix: Path = DEFAULT_PREFIX
    data_dir: Path | None = None
    port: int | None = None
    listen: str | None = None
    config_file: Path | None = None
    trusted_key: Path | None = None


class FirstSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything goes, the settings in force, and the file to write (None: one exists)."""

    layout: Layout
    settings: Settings
    text: str | None
    without_effect: tuple[str, ...] = ()
    """Options that an existing configuration overrules."""


def choose_settings(options: InstallOptions, base: Layout | None = None) -> FirstSettings:
    """Places and settings of an installation.

    `base` has the places that no option names. Raises MisconfiguredError with every problem of an
    existing or a prepared configuration.
    """
    layout = choose_layout(options, base)
    if os.access(layout.config_file, os.R_OK):
        settings = load_settings(config_file=layout.config_file, environment={}, flags={})
        layout = msgspec.structs.replace(layout, data_dir=settings.data_dir)
        named = {
            "--data-dir": options.data_dir not in {None, settings.data_dir},
            "--port": options.port not in {None, settings.api.port},
            "--listen": options.listen not in {None, settings.api.host},
            "--config": options.config_file is not None,
        }
        overruled = tuple(name for name, holds in named.items() if holds)
        return FirstSettings(layout=layout, settings=settings, text=None, without_effect=overruled)
    text = _render(options, layout)
    flags = _our_flags(layout) | _option_flags(options)
    settings = load_settings(config_file=options.config_file, environment={}, flags=flags)
    return FirstSettings(layout=layout, settings=settings, text=text)


def choose_layout(options: InstallOptions, base: Layout | None = None) -> Layout:
    """The places: of the installation below the prefix, else as the options say."""
    try:
        return load_layout(options.prefix)
    except NotFoundError:
        chosen = msgspec.structs.replace(base or Layout(), prefix=options.prefix)
    data_dir = options.data_dir or _data_dir_in(options.config_file)
    return msgspec.structs.replace(chosen, data_dir=data_dir or chosen.data_dir)


def find_places(options: InstallOptions, base: Layout | None = None) -> Layout:
    """The places of whatever is left of an installation, without understanding its settings.

    After an uninstall that kept the data, the configuration still names them.
    """
    layout = choose_layout(options, base)
    if layout.layout_file.exists() or options.data_dir is not None:
        return layout
    with suppress(MisconfiguredError):
        data_dir = _data_dir_in(layout.config_file)
        return msgspec.structs.replace(layout, data_dir=data_dir or layout.data_dir)
    return layout


def _data_dir_in(config_file: Path | None) -> Path | None:
    """The data directory a prepared configuration names."""
    if config_file is None:
        return None
    named = _read(config_file).get("data_dir")
    return Path(named) if isinstance(named, str) else None


def _our_flags(layout: Layout) -> dict[str, str]:
    return {
        "data_dir": str(layout.data_dir),
        "secrets_dir": str(layout.secrets),
        "supervision": Supervision.SYSTEMD.value,
    }


def _option_flags(options: InstallOptions) -> dict[str, str]:
    if options.config_file is not None:
        return {}
    return {
        "api.host": options.listen or DEFAULT_LISTEN,
        "api.port": str(DEFAULT_PORT if options.port is None else options.port),
    }


def _render(options: InstallOptions, layout: Layout) -> str:
    """The file: three keys of ours first, then what the operator prepared, or the public port."""
    head = [
        "# The settings of this installation; docs/configuration.md lists them all.",
        "# After a change run: pug-appliance install",
        "",
        *(f"{key} = {_quoted(value)}" for key, value in _our_flags(layout).items()),
        "",
    ]
    if options.config_file is not None:
        prepared = _read(options.config_file)
        kept = options.config_file.read_text(encoding="utf-8").splitlines()
        # Keys of ours in the prepared file were compared by choose_layout; twice would be no TOML.
        if set(_OURS) & prepared.keys():
            kept = [line for line in kept if line.partition("=")[0].strip() not in _OURS]
        return "\n".join([*head, *kept]) + "\n"
    flags = _option_flags(options)
    body = ["[api]", f"host = {_quoted(flags['api.host'])}", f"port = {flags['api.port']}"]
    return "\n".join([*head, *body]) + "\n"


def _quoted(text: str) -> str:
    """A TOML string; JSON's quoting is a part of TOML's."""
    return msgspec.json.encode(text).decode()


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MisconfiguredError(
            "CONFIG_UNREADABLE", f"{path} is not TOML: {error}", hint="correct that line"
        ) from error
    except FileNotFoundError as error:
        raise MisconfiguredError(
            "CONFIG_MISSING", f"the configuration file {path} does not exist"
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
