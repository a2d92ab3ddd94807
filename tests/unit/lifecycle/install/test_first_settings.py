"""The configuration an installation begins with."""

import tomllib
from pathlib import Path

import pytest

from appliance.base.errors import MisconfiguredError
from appliance.config.load import load_settings
from appliance.lifecycle.first_settings import InstallOptions, choose_settings, find_places
from appliance.lifecycle.layout import Layout


@pytest.fixture
def base(tmp_path: Path) -> Layout:
    return Layout(
        prefix=tmp_path / "opt/pug",
        config_file=tmp_path / "etc/pug/appliance.toml",
        data_dir=tmp_path / "var/pug",
        unit_dir=tmp_path / "units",
        command=tmp_path / "bin/pug-appliance",
    )


def options(base: Layout, **given: object) -> InstallOptions:
    return InstallOptions(prefix=base.prefix, **given)  # type: ignore[arg-type]


def test_a_fresh_file_is_understood_like_the_settings_it_was_made_from(base: Layout) -> None:
    chosen = choose_settings(options(base, port=9000, listen="10.0.0.5"), base)
    assert chosen.text is not None
    base.config_file.parent.mkdir(parents=True)
    base.config_file.write_text(chosen.text)
    again = load_settings(config_file=base.config_file, environment={}, flags={})
    assert again == chosen.settings
    assert again.api.port == 9000
    assert again.api.host == "10.0.0.5"
    assert again.data_dir == base.data_dir
    assert again.secrets_dir == base.secrets
    assert again.installed


def test_without_options_every_address_is_listened_on(base: Layout) -> None:
    chosen = choose_settings(options(base), base)
    assert (chosen.settings.api.host, chosen.settings.api.port) == ("0.0.0.0", 8080)


def test_a_prepared_file_is_taken_over_with_its_comments(base: Layout, tmp_path: Path) -> None:
    prepared = tmp_path / "mine.toml"
    prepared.write_text(
        f'# ours\ndata_dir = "{tmp_path}/else"\n[api]\nport = 81 # behind nginx\n'
        '[logs]\nlevel = "debug"\n'
    )
    chosen = choose_settings(options(base, config_file=prepared), base)
    assert chosen.layout.data_dir == tmp_path / "else"
    assert chosen.text is not None
    assert "port = 81 # behind nginx" in chosen.text
    assert "# ours" in chosen.text
    found = tomllib.loads(chosen.text)
    assert found["data_dir"] == f"{tmp_path}/else"
    assert found["supervision"] == "systemd"
    assert chosen.settings.logs.level == "debug"


def test_an_existing_file_is_kept_and_overrules_the_options(base: Layout) -> None:
    first = choose_settings(options(base, port=9000), base)
    assert first.text is not None
    base.config_file.parent.mkdir(parents=True)
    base.config_file.write_text(first.text)
    again = choose_settings(options(base, port=9001, listen="0.0.0.0"), base)
    assert again.text is None
    assert again.settings == first.settings
    assert again.without_effect == ("--port",)


def test_a_wrong_file_is_refused_before_anything_changes(base: Layout, tmp_path: Path) -> None:
    prepared = tmp_path / "mine.toml"
    prepared.write_text("[api]\nprot = 81\n")
    with pytest.raises(MisconfiguredError) as caught:
        choose_settings(options(base, config_file=prepared), base)
    assert "api.prot" in str(caught.value) + str(caught.value.violations)
    prepared.write_text("[api\n")
    with pytest.raises(MisconfiguredError, match="not TOML"):
        choose_settings(options(base, config_file=prepared), base)


def test_the_layout_on_disk_wins(base: Layout, tmp_path: Path) -> None:
    base.prefix.mkdir(parents=True)
    base.save()
    assert find_places(options(base, data_dir=tmp_path / "other")) == base


def test_after_an_uninstall_the_configuration_names_the_data(base: Layout) -> None:
    base.config_file.parent.mkdir(parents=True)
    base.config_file.write_text('data_dir = "/srv/pug"\n[api]\nwhat = 1\n')
    assert find_places(options(base), base).data_dir == Path("/srv/pug")
    base.config_file.write_text("damaged =")
    assert find_places(options(base), base).data_dir == base.data_dir
