"""An installed machine whose services and programs are played, for the steps between releases.

Invariant: what systemd and the releases' programs would do to files, links and processes happens
here in a folder of the test; which release runs is seen from `/proc/<pid>/exe`, as in earnest.
"""

from collections.abc import Mapping
from pathlib import Path

from appliance.base.errors import UnavailableError
from appliance.config.model import Settings, Supervision
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.host import CommandResult
from appliance.lifecycle.layout import BINARY_NAME, Layout
from appliance.lifecycle.manifest import Manifest, encode_manifest
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.signature import sign
from appliance.lifecycle.switchover import APPLIANCE, BRIDGE, ENGINES, RECOVER, Tools
from tests.support.bundles import FILES, KEY, LINKS, TRUSTED, manifest_of
from tests.support.clocks import FixedClock
from tests.support.recording_host import RecordingHost

FIRST = "0.1.0"
_FINE = CommandResult(status=0, output="", errors="")
_FAILED = CommandResult(status=1, output="", errors="failed")


class PlayedMachine:
    """Release 0.1.0 is installed and runs; tests upgrade it, cut the power, look at it."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(
            prefix=folder / "opt/pug",
            config_file=folder / "etc/pug/appliance.toml",
            data_dir=folder / "var/pug",
            unit_dir=folder / "units",
            command=folder / "bin/pug-appliance",
        )
        self.proc = folder / "proc"
        self.broken: set[str] = set()
        """Versions whose API never answers."""
        self.migrated: list[str] = []
        self.points: list[str] = []
        self.doors: dict[str, dict[str, str]] = {}
        """Units of a version beside those of the engines, as sockets."""
        self.booting = False
        self._unwanted: set[str] = set()
        """Units that do not start at boot: `stop` does that to one that waits for its turn."""
        self._pids = {name: 100 + n for n, name in enumerate((APPLIANCE, BRIDGE, *_engine_units()))}
        for path in (self.layout.releases, self.layout.journal, self.layout.staging, self.proc):
            path.mkdir(parents=True)
        self.layout.unit_dir.mkdir()
        self.layout.trusted_keys.mkdir(parents=True)
        (self.layout.trusted_keys / "maker.pub").write_text(TRUSTED.keys[0].text + "\n")
        self.put_release(manifest_of())
        self.layout.current.symlink_to(f"releases/{FIRST}")
        for name, text in self._units(FIRST).items():
            (self.layout.unit_dir / name).write_text(text)
        for unit in (APPLIANCE, *_engine_units()):
            self._run(unit, FIRST)
        self.host = _PlayedHost(self)
        self.clock = FixedClock()
        settings = Settings(
            data_dir=self.layout.data_dir,
            secrets_dir=self.layout.secrets,
            supervision=Supervision.SYSTEMD,
        )
        self.tools = Tools(
            layout=self.layout,
            settings=settings,
            host=self.host,
            progress=SilentProgress(),
            clock=self.clock,
            gate=self,
            proc=self.proc,
        )
        self.origin = Origin(settings=settings, config_file=None, inherited={})

    def put_release(
        self,
        manifest: Manifest,
        files: Mapping[str, bytes] = FILES,
        *,
        below: Path | None = None,
    ) -> None:
        """A complete release among the installed ones, or in another folder."""
        folder = (below or self.layout.releases) / manifest.version
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        for entry in manifest.files:
            if not entry.link:
                (folder / entry.path).chmod(int(entry.mode, 8))
        for path, target in LINKS.items():
            (folder / path).symlink_to(target)
        content = encode_manifest(manifest)
        (folder / "manifest.json").write_bytes(content)
        (folder / "manifest.sig").write_bytes(sign(KEY, content))

    def stands_at(self, version: str, *, previous: str) -> None:
        """An upgrade to an installed release happened before."""
        self.tools.host.link(self.layout.previous, Path("releases", previous))
        self.tools.host.link(self.layout.current, Path("releases", version))
        for name, text in self._units(version).items():
            (self.layout.unit_dir / name).write_text(text)
        self._run(APPLIANCE, version)

    async def make_point(self, reason: str) -> str:
        """Notes the restore point that is asked for."""
        self.points.append(reason)
        return reason

    async def check(self, version: str) -> None:
        """The gate: whether the service runs this release and it is not broken."""
        if self.running(APPLIANCE) != version or version in self.broken:
            raise UnavailableError("RELEASE_BROKEN", f"release {version} does not answer")

    def running(self, unit: str) -> str:
        """The version a unit runs; empty when it does not run."""
        link = self.proc / str(self._pids[unit]) / "exe"
        return link.readlink().relative_to(self.layout.releases).parts[0] if link.exists() else ""

    def cut_power(self) -> None:
        """Every process is gone; what comes next is the boot."""
        for unit in self._pids:
            self._end(unit)
        self.booting = True

    def boot(self) -> None:
        """What systemd starts after `recover`."""
        self.booting = False
        for unit in (APPLIANCE, *_engine_units()):
            if unit not in self._unwanted:
                self._run(unit, self.layout.current.readlink().name)

    def wholly(self, version: str, previous: str) -> None:
        """Assert that everything belongs to one release and nothing half is left."""
        assert self.layout.current.readlink().name == version
        found = self.layout.previous.readlink().name if self.layout.previous.is_symlink() else ""
        assert found == previous
        assert not self.layout.bridge.is_symlink()
        assert self.running(APPLIANCE) == version
        assert self.running(BRIDGE) == ""
        texts = {path.name: path.read_text() for path in self.layout.unit_dir.iterdir()}
        assert texts == self._units(version)
        assert not self.layout.open_journal.exists()
        for unit in _engine_units():
            assert self.layout.release(self.running(unit)).is_dir()

    def play(self, argv: tuple[str, ...]) -> CommandResult:
        """What a command does, and says."""
        if argv[0] == "systemctl":
            return self._systemctl(argv[1], [word for word in argv[2:] if word[0] != "-"], argv)
        program = Path(argv[0])
        if program.name == BINARY_NAME:
            return self._program(program.parent.name, argv[1:])
        return _FINE

    def _systemctl(self, verb: str, units: list[str], argv: tuple[str, ...]) -> CommandResult:
        match verb:
            case "is-active":
                state = "activating" if self.booting and units == [RECOVER] else "inactive"
                return CommandResult(status=3, output=f"{state}\n", errors="")
            case "show":
                pid = self._pids[units[0]] if self.running(units[0]) else 0
                return CommandResult(status=0, output=f"{pid}\n", errors="")
            case "start" | "restart":
                assert not self.booting, argv
                return self._start(units)
            case "stop":
                for unit in units:
                    self._end(unit)
                if self.booting:
                    self._unwanted.update(units)
                return _FINE
            case _:
                return _FINE

    def _start(self, units: list[str]) -> CommandResult:
        for unit in units:
            link = self.layout.bridge if unit == BRIDGE else self.layout.current
            version = link.readlink().name
            if unit == BRIDGE and version in self.broken:
                return _FAILED
            self._run(unit, version)
        return _FINE

    def _program(self, version: str, words: tuple[str, ...]) -> CommandResult:
        match words[:2]:
            case ("schema", _):
                text = '{"schema":{},"schema_compatible":{},"engine_code":{"nats":"1"}}'
                return CommandResult(status=0, output=text, errors="")
            case ("systemd", "render"):
                folder = Path(words[words.index("--output") + 1])
                for name, text in self._units(version).items():
                    (folder / name).write_text(text)
            case ("premises", _):
                pass
            case (store, "migrate"):
                self.migrated.append(f"{store} {version}")
                if f"migration {version}" in self.broken:
                    return _FAILED
            case _:
                raise AssertionError(words)
        return _FINE

    def _units(self, version: str) -> dict[str, str]:
        """The units of a release: those of the engines are the same in all of them."""
        engines = dict.fromkeys(_engine_units(), "the same")
        ours = {APPLIANCE: f"of {version}", BRIDGE: f"of {version}"}
        return engines | ours | self.doors.get(version, {})

    def _run(self, unit: str, version: str) -> None:
        if unit not in self._pids:
            return
        folder = self.proc / str(self._pids[unit])
        folder.mkdir(exist_ok=True)
        self._end(unit)
        (folder / "exe").symlink_to(self.layout.release(version) / BINARY_NAME)

    def _end(self, unit: str) -> None:
        if unit in self._pids:
            (self.proc / str(self._pids[unit]) / "exe").unlink(missing_ok=True)


class _PlayedHost(RecordingHost):
    def __init__(self, machine: PlayedMachine) -> None:
        super().__init__()
        self._machine = machine

    async def run(
        self, *argv: str, timeout_seconds: float = 0, check: bool = True
    ) -> CommandResult:
        del timeout_seconds
        self.commands.append(argv)
        result = self._machine.play(argv)
        if check and result.status != 0:
            raise UnavailableError("COMMAND_FAILED", f"{argv} failed")
        return result


def _engine_units() -> tuple[str, ...]:
    return tuple(f"pug-{name}.service" for name in ENGINES)
