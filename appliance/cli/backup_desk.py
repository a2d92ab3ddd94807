"""What every backup command works with: an installation, targets, a passphrase.

Invariant: paths and passphrases come from flags, else from the settings; here and nowhere else.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import click
import msgspec

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import ApplianceError, NotFoundError
from appliance.cli.options import Sources, read_settings, sources_options
from appliance.config.model import DEFAULT_CONFIG_FILE, Settings
from appliance.config.secrets import Secret, load_secret_file
from appliance.config.sources import CONFIG_FILE_VARIABLE, process_environment
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.backup.model import Summary
from appliance.lifecycle.backup.pool import Pool

LATEST: Final = "latest"

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What every backup command works with."""

    origin: Origin
    targets: tuple[Path, ...]
    passphrase: Secret | None
    clock: Clock

    @property
    def settings(self) -> Settings:
        """The settings of the installation."""
        return self.origin.settings

    def opened(self) -> Iterable[Pool]:
        """Every target that can be opened; raises the first reason when none can."""
        pools: list[Pool] = []
        problem: ApplianceError | None = None
        for target in self.targets:
            try:
                pools.append(Pool.open(target, self.passphrase))
            except ApplianceError as error:
                problem = problem or error
        if not pools and problem is not None:
            raise problem
        return pools

    def find(self, name: str) -> tuple[Pool, str]:
        """The target that has a backup, and the backup's name; raises NotFoundError."""
        newest: list[tuple[Summary, Pool]] = []
        for pool in self.opened():
            listed = pool.backups()
            if any(one.id == name for one in listed):
                return pool, name
            # Inside a target the order is known; between targets there is only the clock.
            newest += [(one.summary, pool) for one in listed if one.summary is not None][-1:]
        if name == LATEST and newest:
            summary, pool = max(newest, key=lambda one: one[0].point)
            return pool, summary.id
        raise NotFoundError(
            "BACKUP_UNKNOWN",
            f"there is no backup {name}" if name != LATEST else "there is no backup",
            hint="`pug-appliance backup list` shows them",
        )


def desk_options(
    command: Callable[Concatenate[Desk, Parameters], Result],
) -> Callable[Parameters, Result]:
    """Give a command `--target`, `--passphrase-file` and the options for settings."""

    @click.option(
        "--target",
        "targets",
        type=click.Path(path_type=Path, file_okay=False),
        multiple=True,
        help="Folder or mount with backups; default: backup.targets.",
    )
    @click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the passphrase of the target; default: backup.passphrase_file.",
    )
    @sources_options
    @wraps(command)
    def with_desk(sources: Sources, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        targets = kwargs.pop("targets")
        word = kwargs.pop("passphrase_file")
        assert isinstance(targets, tuple)
        assert word is None or isinstance(word, Path)
        settings = read_settings(sources)
        word = word or settings.backup.passphrase_file
        desk = Desk(
            origin=_origin(sources, settings),
            targets=tuple(Path(one).absolute() for one in targets)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] click tells no types
            or settings.backup.targets
            or (settings.folders.backups,),
            passphrase=load_secret_file(word) if word is not None else None,
            clock=SystemClock(),
        )
        return command(desk, *args, **kwargs)

    return with_desk


def _origin(sources: Sources, settings: Settings) -> Origin:
    environment = process_environment()
    named = environment.get(CONFIG_FILE_VARIABLE)
    file = sources.config_file or (Path(named) if named else DEFAULT_CONFIG_FILE)
    return Origin(
        settings=settings,
        config_file=file.absolute() if file.exists() or settings.installed else None,
        inherited=environment,
    )
