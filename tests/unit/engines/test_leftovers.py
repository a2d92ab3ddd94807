"""What a killed PostgreSQL leaves behind does not stop the next one."""

from pathlib import Path

from appliance.engines.postgres_cluster import clear_stale_pids


def test_pid_file_and_socket_locks_of_a_dead_server_are_removed(tmp_path: Path) -> None:
    """Nothing else in the two folders is touched, and nothing needs to be there."""
    cluster, sockets = tmp_path / "cluster", tmp_path / "socket"
    cluster.mkdir()
    sockets.mkdir()
    kept = [cluster / "PG_VERSION", sockets / "other"]
    for path in (
        *kept,
        cluster / "postmaster.pid",
        sockets / ".s.PGSQL.5432",
        sockets / ".s.PGSQL.5432.lock",
    ):
        path.write_text("1\n")
    clear_stale_pids(cluster, sockets)
    clear_stale_pids(cluster, sockets)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
