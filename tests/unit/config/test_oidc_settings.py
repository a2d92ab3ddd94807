"""Single sign-on in the settings [issue 4]."""

import json
from pathlib import Path

import pytest

from appliance.config.effective import save_effective
from appliance.config.load import inspect_settings, load_settings
from appliance.config.reference import shown_settings
from appliance.config.secrets import Secret

KEYCLOAK = {
    "name": "Keycloak",
    "slug": "keycloak",
    "issuer_url": "https://sso.example.com/realms/staff",
    "client_id": "pug",
    "client_secret": 'pst"\\',
    "allowed_domains": ["example.com"],
    "role_claim": "groups",
    "role_mapping": {"pug admins": "admin", "Léa's": "viewer@0123456789abcdefghij"},
}


def test_environment_and_toml_say_the_same(tmp_path: Path) -> None:
    """A JSON list in the environment is what tables are in the file."""
    from_environment = load_settings(
        config_file=None,
        environment={
            "OIDC_PROVIDERS": json.dumps([KEYCLOAK]),
            "OIDC_BASE_URL": "https://pug.example.com",
            "OIDC_FRONTEND_URL": "https://pug.example.com/",
            "PUG_DATA_DIR": str(tmp_path),
        },
        flags={},
    )
    path = tmp_path / "appliance.toml"
    path.write_text(
        f"""
        data_dir = {json.dumps(str(tmp_path))}
        [oidc]
        base_url = "https://pug.example.com"
        frontend_url = "https://pug.example.com/"
        [[oidc.providers]]
        name = "Keycloak"
        slug = "keycloak"
        issuer_url = "https://sso.example.com/realms/staff"
        client_id = "pug"
        client_secret = 'pst"\\'
        allowed_domains = ["example.com"]
        role_claim = "groups"
        [oidc.providers.role_mapping]
        "pug admins" = "admin"
        "Léa's" = "viewer@0123456789abcdefghij"
        """,
        encoding="utf-8",
    )
    from_file = load_settings(config_file=path, environment={}, flags={})
    assert from_environment.oidc == from_file.oidc
    assert from_file.oidc.providers[0].client_secret == Secret('pst"\\')
    assert from_file.oidc.providers[0].scopes == ("openid", "email", "profile")

    effective = save_effective(from_file)
    assert load_settings(config_file=effective, environment={}, flags={}) == from_file
    shown = {one.key: one.value for one in shown_settings(from_file, {})}
    assert "keycloak" in shown["oidc.providers"]
    assert "pst" not in shown["oidc.providers"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"issuer_url": "http://sso.example.com"}, "issuer_url"),
        ({"issuer_url": "https://sso.example.com/?realm=a"}, "issuer_url"),
        ({"issuer_url": "https://[sso"}, "issuer_url"),
        ({"scopes": ["email"]}, "openid"),
        ({"scopes": ["openid", "a b"]}, "scope"),
        ({"allowed_domains": ["example"]}, "domain"),
        ({"role_mapping": {}}, "role_claim"),
        ({"role_mapping": {"x": "owner"}}, "role 'owner'"),
        ({"slug": "Key Cloak"}, "slug"),
        ({"surprise": 1}, "surprise"),
        ({"client_secret": ""}, "oidc.providers"),
    ],
)
def test_a_slip_is_named_and_no_secret_told(change: dict[str, object], told: str) -> None:
    text = json.dumps([KEYCLOAK | change])
    loaded = inspect_settings(config_file=None, environment={"OIDC_PROVIDERS": text}, flags={})
    (problem,) = loaded.problems
    assert problem.key == "oidc.providers"
    assert told in str(problem)
    assert "pst" not in str(problem)


def test_text_that_is_no_json_is_not_repeated() -> None:
    loaded = inspect_settings(
        config_file=None, environment={"OIDC_PROVIDERS": "[{client_secret: pst"}, flags={}
    )
    (problem,) = loaded.problems
    assert "JSON" in str(problem)
    assert "pst" not in str(problem)


def test_two_providers_of_one_slug() -> None:
    loaded = inspect_settings(
        config_file=None,
        environment={"OIDC_PROVIDERS": json.dumps([KEYCLOAK, KEYCLOAK])},
        flags={},
    )
    assert [problem.key for problem in loaded.problems] == ["oidc.providers"]


def test_empty_text_is_no_provider() -> None:
    settings = load_settings(config_file=None, environment={"OIDC_PROVIDERS": ""}, flags={})
    assert settings.oidc.providers == ()
