"""Installing and uninstalling on a recorded host: every step can be cut off and repeated."""

import base64
import hashlib
from pathlib import Path

import pytest

from appliance.base.errors import ConflictError, UnmetError
from appliance.lifecycle.first_settings import InstallOptions
from appliance.lifecycle.host import CommandResult
from appliance.lifecycle.install import Installer, PreparedInstall, prepare_install
from appliance.lifecycle.journal import Journal, Mark
from appliance.lifecycle.layout import USERS, Layout, load_layout
from appliance.lifecycle.manifest import BundleRefusedError, FileEntry, Manifest, encode_manifest
from appliance.lifecycle.operation import operation_lock
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.runner import Drill, no_drill
from appliance.lifecycle.signature import load_key, make_key, public_half, sign
from appliance.lifecycle.uninstall import Uninstaller
from tests.support.clocks import FixedClock
from tests.support.recording_host import RecordingHost

pytestmark = pytest.mark.anyio
PROGRAM = b"#!program"
STEPS = (
    *("accounts", "folders", "release", "keys", "secrets", "config", "links", "labels"),
    *("units", "start", "disk"),
)


class PowerCutError(BaseException):
    """The process is gone."""


def all_active(argv: tuple[str, ...]) -> CommandResult:
    del argv
    return CommandResult(status=0, output="active", errors="")


class Site:
    """A machine in a folder, with an unpacked bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = RecordingHost()
        self.clock = FixedClock()
        self.base = Layout(
            prefix=folder / "opt/pug",
            config_file=folder / "etc/pug/appliance.toml",
            data_dir=folder / "var/pug",
            unit_dir=folder / "units",
            command=folder / "bin/pug-appliance",
        )
        self.bundle = folder / "unpacked"
        self.make_bundle("1.0.0")

    def make_bundle(self, version: str, *, key: str = "key") -> None:
        path = self.folder / key
        if not path.exists():
            make_key(path)
        secret = load_key(path)
        self.key = public_half(secret)
        manifest = Manifest(
            format=1,
            product="pug-appliance",
            version=version,
            release=1,
            architecture="x86_64",
            glibc="2.17",
            upgrades_from=1,
            schema={"postgres": 1},
            schema_compatible={"postgres": 1},
            engines={"postgres": "18.6"},
            source_date=0,
            keys=(self.key.text,),
            files=(
                FileEntry(
                    path="pug-appliance",
                    sha256=hashlib.sha256(PROGRAM).hexdigest(),
                    size=len(PROGRAM),
                    mode="0755",
                ),
            ),
        )
        content = encode_manifest(manifest)
        self.bundle.mkdir(exist_ok=True)
        (self.bundle / "pug-appliance").write_bytes(PROGRAM)
        (self.bundle / "manifest.json").write_bytes(content)
        (self.bundle / "manifest.sig").write_bytes(sign(secret, content))

    def prepare(self, **given: object) -> PreparedInstall:
        options = InstallOptions(prefix=self.base.prefix, **given)  # type: ignore[arg-type]
        return prepare_install(self.bundle, options, clock=self.clock, base=self.base)

    def installer(self, **given: object) -> Installer:
        return Installer(
            self.prepare(**given), host=self.host, progress=SilentProgress(), clock=self.clock
        )

    def uninstaller(self, *, purge: bool, layout: Layout | None = None) -> Uninstaller:
        return Uninstaller(
            layout or self.base,
            purge=purge,
            host=self.host,
            progress=SilentProgress(),
            clock=self.clock,
        )

    async def put_in_place(self, drill: Drill = no_drill, **given: object) -> None:
        """The journalled part of an install, in the folder it needs."""
        self.base.journal.mkdir(parents=True, exist_ok=True)
        await self.installer(**given).put_in_place(drill=drill)

    def commands(self, tool: str) -> list[tuple[str, ...]]:
        return [command for command in self.host.commands if command[:2] == ("systemctl", tool)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def assert_whole(site: Site) -> None:
    """Everything an installation consists of is there, with its owners and modes."""
    layout = load_layout(site.base.prefix)
    assert layout == site.base
    assert set(site.host.users) == set(USERS)
    assert "pug-postgres" in site.host.users["pug"]
    assert (layout.release("1.0.0") / "pug-appliance").read_bytes() == PROGRAM
    assert layout.current.readlink() == Path("releases/1.0.0")
    assert layout.command.readlink() == layout.binary
    assert layout.config_file.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in layout.secrets.iterdir()} == {0o600}
    assert len(list(layout.secrets.iterdir())) == 5
    assert (layout.trusted_keys / f"{site.key.id}.pub").read_text() == f"{site.key.text}\n"
    for folder in layout.folders():
        assert folder.path.stat().st_mode & 0o777 == folder.mode, folder
        assert site.host.owners[folder.path] == folder.owner
    assert (layout.unit_dir / "pug.target").exists()
    assert Journal.load(layout.journal) is None


async def test_an_installation_is_whole(site: Site) -> None:
    await site.put_in_place()
    assert_whole(site)
    (started,) = site.commands("start")
    assert "pug-appliance.service" in started
    assert "pug-recover.service" not in started
    assert ("systemctl", "enable", "pug.target") in site.host.commands


@pytest.mark.parametrize("mark", [Mark.BEGUN, Mark.DONE])
@pytest.mark.parametrize("name", STEPS)
async def test_a_power_cut_anywhere_is_finished_by_installing_again(
    site: Site, name: str, mark: Mark
) -> None:
    def cut(step: str, happened: Mark) -> None:
        if (step, happened) == (name, mark):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        await site.put_in_place(cut)
    assert Journal.load(site.base.journal) is not None
    await site.put_in_place()
    assert_whole(site)


async def test_every_step_is_in_the_matrix(site: Site) -> None:
    assert tuple(step.name for step in site.installer().plan().steps) == STEPS


async def test_nothing_that_exists_is_lost_by_installing_again(site: Site) -> None:
    await site.put_in_place(port=9000)
    secrets = {path.name: path.read_bytes() for path in site.base.secrets.iterdir()}
    config = site.base.config_file.read_bytes()
    (site.base.data_dir / "postgres/18").mkdir()
    await site.put_in_place()
    assert {path.name: path.read_bytes() for path in site.base.secrets.iterdir()} == secrets
    assert site.base.config_file.read_bytes() == config
    assert b"port = 9000" in config
    assert (site.base.data_dir / "postgres/18").exists()
    assert site.commands("stop") == []
    assert len(site.commands("daemon-reload")) == 1


async def test_a_changed_configuration_restarts_everything(site: Site) -> None:
    await site.put_in_place()
    changed = site.base.config_file.read_text().replace("8080", "8081")
    site.base.config_file.write_text(changed)
    await site.put_in_place()
    assert len(site.commands("stop")) == 1
    assert ":8081" in (site.base.unit_dir / "pug-appliance.socket").read_text()


async def test_a_repaired_program_restarts_what_runs(site: Site) -> None:
    await site.put_in_place()
    program = site.base.release("1.0.0") / "pug-appliance"
    program.write_bytes(b"#!damaged")
    site.host = RecordingHost(all_active)
    await site.put_in_place()
    assert program.read_bytes() == PROGRAM
    assert len(site.commands("stop")) == 1


async def test_another_operation_is_not_disturbed(site: Site) -> None:
    site.base.journal.mkdir(parents=True, exist_ok=True)
    Journal.begin(site.base.journal, "upgrade", clock=site.clock)
    with pytest.raises(ConflictError, match="recover"):
        await site.put_in_place()


async def test_the_first_key_is_believed_and_then_no_other(site: Site) -> None:
    assert site.prepare().bundle.first_trust
    await site.put_in_place()
    assert not site.prepare().bundle.first_trust
    site.make_bundle("1.0.0", key="another")
    with pytest.raises(BundleRefusedError, match="not trusted"):
        site.prepare()


async def test_a_pinned_key_is_the_only_one(site: Site) -> None:
    pinned = site.folder / "pinned.pub"
    pinned.write_text(site.key.text)
    assert not site.prepare(trusted_key=pinned).bundle.first_trust
    pinned.write_text(base64.b64encode(bytes(32)).decode())
    with pytest.raises(BundleRefusedError, match="not trusted"):
        site.prepare(trusted_key=pinned)


async def test_an_uninstall_keeps_data_settings_and_accounts(site: Site) -> None:
    await site.put_in_place()
    await site.uninstaller(purge=False).run()
    assert not site.base.prefix.exists()
    assert not site.base.command.is_symlink()
    assert list(site.base.unit_dir.iterdir()) == []
    assert site.base.config_file.exists()
    assert (site.base.data_dir / "postgres").exists()
    assert set(site.host.users) == set(USERS)
    await site.put_in_place()
    assert_whole(site)


async def test_a_purge_leaves_nothing(site: Site) -> None:
    await site.put_in_place()
    await site.uninstaller(purge=True).run()
    for path in (site.base.prefix, site.base.config_dir, site.base.data_dir, site.base.command):
        assert not path.exists()
    assert list(site.base.unit_dir.iterdir()) == []
    assert site.host.users == {}


@pytest.mark.parametrize("name", STEPS)
async def test_half_an_installation_is_taken_away(site: Site, name: str) -> None:
    def cut(step: str, happened: Mark) -> None:
        if (step, happened) == (name, Mark.BEGUN):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        await site.put_in_place(cut)
    uninstaller = site.uninstaller(purge=True)
    for step in uninstaller.steps():
        await step.do()
        await step.do()
    assert not site.base.prefix.exists()
    assert not site.base.data_dir.exists()
    assert site.host.users == {}


async def test_an_operation_at_work_is_not_disturbed(site: Site) -> None:
    await site.put_in_place()
    with operation_lock(site.base):
        with pytest.raises(ConflictError, match="another operation is at work"):
            await site.installer().run()
        with pytest.raises(ConflictError, match="another operation is at work"):
            await site.uninstaller(purge=True).run()
    assert_whole(site)


async def test_folders_of_the_system_are_never_removed(site: Site) -> None:
    layout = Layout(prefix=site.base.prefix, data_dir=Path("/var/lib"))
    with pytest.raises(UnmetError, match="/var/lib is a folder of the system"):
        await site.uninstaller(purge=True, layout=layout).run()
    assert site.host.commands == []


def test_a_drill_is_nothing_by_default() -> None:
    no_drill("release", Mark.BEGUN)
