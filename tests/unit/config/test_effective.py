"""What the supervisor was told reaches its children."""

from pathlib import Path

from appliance.config.effective import save_effective
from appliance.config.load import load_settings


def test_the_effective_file_gives_the_same_settings(tmp_path: Path) -> None:
    """Flags, quantities, lists and secrets survive; the file is private."""
    flags = {
        "data_dir": str(tmp_path),
        "api.port": "0",
        "api.dashboard": "false",
        "api.cors_origins": 'https://a.test, https://"b".test',
        "worker.insert_wait": "250ms",
        "clickhouse.memory_bytes_max": "1GiB",
        "postgres.url": "postgresql://u:p%22\\@h/d",
        "logs.form": "json",
    }
    settings = load_settings(config_file=None, environment={}, flags=flags)
    path = save_effective(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_settings(config_file=path, environment={}, flags={}) == settings
