"""Settings from all sources, and every problem at once."""

from pathlib import Path

import pytest

from appliance.base.errors import MisconfiguredError
from appliance.base.units import Bytes, Seconds
from appliance.config.load import Loaded, inspect_settings, load_settings
from appliance.config.reference import shown_settings
from appliance.config.schema import leaves
from appliance.config.sources import OriginKind


def inspect(toml: str = "", environment: dict[str, str] | None = None, **flags: str) -> Loaded:
    """Settings of a file with this text, this environment, these flags (a__b is a.b)."""
    path = Path(inspect.folder) / "appliance.toml"
    path.write_text(toml)
    return inspect_settings(
        config_file=path,
        environment=environment or {},
        flags={key.replace("__", "."): text for key, text in flags.items()},
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    inspect.folder = tmp_path


def test_defaults_work_without_any_source() -> None:
    """A laptop needs no configuration."""
    loaded = inspect()
    assert loaded.problems == ()
    assert loaded.settings.api.host == "127.0.0.1"
    assert loaded.settings.data_dir.is_absolute()


def test_later_sources_win() -> None:
    """default < file < environment < flag."""
    toml = "[api]\nport = 1001\n"
    assert inspect(toml).settings.api.port == 1001
    assert inspect(toml, {"PUG_SERVER_PORT": "1002"}).settings.api.port == 1002
    loaded = inspect(toml, {"PUG_SERVER_PORT": "1002"}, api__port="1003")
    assert loaded.settings.api.port == 1003
    assert loaded.origins["api.port"].kind is OriginKind.FLAG


def test_our_own_environment_name_is_weaker_than_the_contract_name() -> None:
    """Of two names of one key the contract's wins."""
    environment = {"PUG_API_PORT": "1", "PUG_SERVER_PORT": "2"}
    assert inspect("", environment).settings.api.port == 2
    assert inspect("", {"PUG_API_PORT": "1"}).settings.api.port == 1


def test_every_problem_is_reported_at_once() -> None:
    """Key, origin, found and expected, for each; nothing stops at the first."""
    loaded = inspect(
        '[api]\nport = "8080"\nprt = 1\n[worker]\ninsert_wait = 3\n[nats]\nretention = "soon"\n',
        {"PUG_SERVR_PORT": "1", "PUG_DEMO_ENABLED": "yes", "PUG_JWT_SECRET_KEY": ""},
        logs__level="loud",
    )
    assert {problem.key for problem in loaded.problems} == {
        "api.port",
        "api.prt",
        "worker.insert_wait",
        "nats.retention",
        "PUG_SERVR_PORT",
        "demo.enabled",
        "sessions.signing_key",
        "logs.level",
    }
    by_key = {problem.key: problem for problem in loaded.problems}
    assert by_key["api.prt"].expected == "perhaps api.port"
    assert by_key["PUG_SERVR_PORT"].expected == "perhaps PUG_SERVER_PORT"
    assert by_key["logs.level"].expected == "one of debug, info, warning, error"
    assert by_key["api.port"].found == "'8080'"
    assert "appliance.toml" in by_key["api.port"].origin


def test_an_empty_secret_is_refused_and_never_shown() -> None:
    """[configuration 1] set and empty is not set."""
    problem = inspect("", {"DATABASE_URL": ""}).problems[0]
    assert (problem.key, problem.found) == ("postgres.url", "nothing")
    bad = inspect("", {"DATABASE_URL": "mysql://u:hush@h/d"})
    assert "hush" not in str(bad.problems)
    good = inspect("", {"DATABASE_URL": "postgresql://u:hush@h/d"})
    shown = shown_settings(good.settings, good.origins)
    assert "hush" not in str(shown)
    assert "hush" not in repr(good)


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_true_is_written_in_six_ways(text: str) -> None:
    """[configuration 1]"""
    assert inspect("", {"PUG_DEMO_ENABLED": text}).settings.demo.enabled is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_false_is_written_in_six_ways(text: str) -> None:
    """[configuration 1]"""
    assert inspect("", {"PUG_DEMO_ENABLED": text}).settings.demo.enabled is False


def test_origins_are_trimmed() -> None:
    """[configuration 3] a space after a comma does not make an entry dead."""
    loaded = inspect("", {"PUG_CORS_ORIGINS": "https://a.test, https://b.test"})
    assert loaded.settings.api.cors_origins == ("https://a.test", "https://b.test")


def test_quantities_carry_units() -> None:
    """Text with a unit, from any source."""
    loaded = inspect('[worker]\ninsert_wait = "250ms"\n', api__body_bytes_max="1MiB")
    assert loaded.settings.worker.insert_wait == Seconds(0.25)
    assert loaded.settings.api.body_bytes_max == Bytes(1 << 20)


def test_nats_jwt_and_seed_come_together() -> None:
    """[configuration 2] used only if both are there; empty means absent."""
    assert [problem.key for problem in inspect("", {"NATS_JWT": "a"}).problems] == ["nats.jwt"]
    assert inspect("", {"NATS_JWT": "a", "NATS_SEED": "b"}).problems == ()
    assert inspect("", {"NATS_JWT": "", "NATS_SEED": ""}).problems == ()


def test_the_mail_key_is_thirty_two_bytes() -> None:
    """[configuration 4] standard base64 of exactly 32 bytes."""
    good = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    assert inspect("", {"PUG_EMAIL_PROVIDER_SECRET_KEY": good}).problems == ()
    for bad in (good[4:], "not base64!"):
        loaded = inspect("", {"PUG_EMAIL_PROVIDER_SECRET_KEY": bad})
        assert [problem.key for problem in loaded.problems] == ["email.provider_secret_key"]


def test_two_settings_cannot_share_a_port() -> None:
    """The later one is named; zero means any and never clashes."""
    loaded = inspect("", None, api__port="5432")
    assert [problem.key for problem in loaded.problems] == ["postgres.port"]
    assert inspect("", None, api__port="0", nats__port="0").problems == ()


def test_names_of_the_original_without_effect_are_told() -> None:
    """An existing environment file is not an error."""
    loaded = inspect("", {"REDIS_URL": "redis://x", "DB_PASSWORD": "postgres", "HOME": "/"})
    assert loaded.problems == ()
    assert set(loaded.without_effect) == {"REDIS_URL", "DB_PASSWORD"}


def test_a_missing_or_broken_file_is_one_clear_line(tmp_path: Path) -> None:
    """The file is named, with what to do."""
    with pytest.raises(MisconfiguredError, match="does not exist; create it"):
        inspect_settings(config_file=tmp_path / "no.toml", environment={}, flags={})
    with pytest.raises(MisconfiguredError, match="is not TOML"):
        inspect("[api\n")
    with pytest.raises(MisconfiguredError, match=r"and 1 more\); `pug-appliance config check`"):
        load_settings(config_file=None, environment={}, flags={"a": "", "b": ""})


def test_every_setting_is_described() -> None:
    """The manual has a sentence for each."""
    assert [leaf.key for leaf in leaves() if not leaf.description or not leaf.expected] == []
