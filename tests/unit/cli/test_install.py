"""`install` and `uninstall` before they touch anything."""

import io
import json
import os
from pathlib import Path

import pytest

from appliance.cli.main import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_program_outside_a_bundle_says_where_to_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("install", "--prefix", str(tmp_path), "--check") == 1
    assert "unpack the tarball" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--prefix", str(tmp_path), "--from", str(tmp_path), "--check", "--json")
    assert run("install", *arguments) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["reason"] == "BUNDLE_MISSING"
    assert str(tmp_path) in error["message"]


def test_a_prepared_file_and_its_keys_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = tmp_path / "mine.toml"
    prepared.write_text("")
    assert run("install", "--config", str(prepared), "--port", "81") == 2
    assert "--config" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets that far")
def test_a_purge_in_a_script_has_to_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    arguments = ("--prefix", str(tmp_path / "opt"), "--data-dir", str(tmp_path / "data"))
    assert run("uninstall", "--purge", *arguments) == 2
    assert "--yes" in capsys.readouterr().err
