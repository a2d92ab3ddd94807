"""Each template is accepted by the tool it is for; tools that are missing skip their test."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import kubernetes_validate
import msgspec
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from appliance.base.clock import SystemClock
from appliance.base.errors import InvalidInputError
from appliance.cli.main import cli
from appliance.config.model import ApiSettings, LogSettings, Settings
from appliance.lifecycle.templates.catalogue import TEMPLATES
from appliance.lifecycle.templates.monitoring import ALERTS, PANELS
from appliance.lifecycle.templates.site import Site, make_site
from appliance.lifecycle.tls import install, make_self_signed, tls_place
from tests.support.api_services import api_process
from tests.support.rpc import BATCH_CREATE, PUBLIC, event
from tests.support.stack import until

pytestmark = pytest.mark.integration

DOMAIN = "pug.example"
WAIT_SECONDS = 30


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture(params=["http", "https", "ipv6"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """An installation with plain HTTP, with a certificate of its own, and on an IPv6 address."""
    host = "::1" if request.param == "ipv6" else "127.0.0.1"
    settings = Settings(
        data_dir=tmp_path / "data",
        api=ApiSettings(host=host, port=8080),
        logs=LogSettings(syslog="" if request.param == "http" else "udp://logs.example:5514"),
    )
    pair = tmp_path / "pair.pem"
    clock = SystemClock()
    install(make_self_signed((DOMAIN,), days=2, clock=clock), pair)
    if request.param == "https":
        install(make_self_signed((DOMAIN,), days=2, clock=clock), tls_place(settings))
    made = make_site(settings, domain=DOMAIN, port=8080)
    return msgspec.structs.replace(made, certificate=str(pair), key=str(pair))


def accepted(*argv: str) -> str:
    result = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@needs("nginx")
def test_nginx(site: Site, tmp_path: Path):
    """`nginx -t`, and what a proxy must do about the client's address."""
    text = TEMPLATES["nginx"](site)
    (tmp_path / "site.conf").write_text(text)
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\n"
        f"http {{ access_log off; include {tmp_path}/site.conf; }}"
    )
    told = accepted("nginx", "-t", "-e", str(tmp_path / "error"), "-c", str(whole))
    assert "warn" not in told
    assert "X-Forwarded-For $remote_addr;" in text
    assert 'proxy_set_header CF-Connecting-IP "";' in text


@needs("caddy")
def test_caddy(site: Site, tmp_path: Path):
    """`caddy validate`."""
    path = tmp_path / "Caddyfile"
    path.write_text(TEMPLATES["caddy"](site))
    accepted("caddy", "validate", "--adapter", "caddyfile", "--config", str(path))


def test_compose(site: Site, tmp_path: Path):
    """The schema of the Compose specification, as docker's own client has it built in."""
    path = tmp_path / "compose.yaml"
    path.write_text(TEMPLATES["docker-compose"](site))
    checker = Path(sys.executable).with_name("check-jsonschema")
    if not checker.exists():
        pytest.skip("check-jsonschema is not installed")
    accepted(str(checker), "--builtin-schema", "vendor.compose-spec", str(path))


def test_kubernetes(site: Site):
    """Every object against the schemas of Kubernetes, unknown fields refused."""
    objects = list(YAML(typ="safe").load_all(TEMPLATES["kubernetes"](site)))
    assert [one["kind"] for one in objects] == ["Service", "Service", "StatefulSet"]
    for one in objects:
        for version in ("1.29", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(one, version, strict=True)


@needs("promtool")
def test_prometheus(site: Site, tmp_path: Path):
    """`promtool check config`, which reads the rules too."""
    (tmp_path / "prometheus.yml").write_text(TEMPLATES["prometheus"](site))
    (tmp_path / "pug-rules.yml").write_text(TEMPLATES["prometheus-rules"](site))
    told = accepted("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    assert f"{len(ALERTS)} rules found" in told


@needs("promtool")
def test_alerts_fire(tmp_path: Path):
    """`promtool test rules`: the grave alerts fire when they should and are silent before."""
    site = Site(domain=DOMAIN, host="h", port=1, tls=False, body_bytes_max=1, grpc_port=None)
    (tmp_path / "pug-rules.yml").write_text(TEMPLATES["prometheus-rules"](site))
    (tmp_path / "test.yml").write_text("""
rule_files: [pug-rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="pug"}', values: '1x10 0x20'}
      - {series: 'ingest_refused_disk_full_total{job="pug"}', values: '0x10 1+1x20'}
      - {series: 'tls_certificate_expires_timestamp_seconds{job="pug"}', values: '864000x200'}
    alert_rule_test:
      - {eval_time: 9m, alertname: PugDown, exp_alerts: []}
      - {eval_time: 9m, alertname: PugRefusesEvents, exp_alerts: []}
      - {eval_time: 9m, alertname: PugCertificateExpires, exp_alerts: []}
      - eval_time: 20m
        alertname: PugDown
        exp_alerts:
          - exp_labels: {severity: critical, job: pug}
            exp_annotations:
              summary: "The appliance does not answer."
              description: "`pug-appliance doctor` works also when nothing starts."
      - eval_time: 20m
        alertname: PugRefusesEvents
        exp_alerts:
          - exp_labels: {severity: critical, job: pug}
            exp_annotations:
              summary: "Events are refused, because the disk is nearly full."
              description: "Free space; taking events begins again by itself."
      - eval_time: 70m
        alertname: PugCertificateExpires
        exp_alerts:
          - exp_labels: {severity: warning, job: pug}
            exp_annotations:
              summary: "The certificate of the public port expires within three weeks."
              description: "`pug-appliance tls import CERT KEY`, then restart."
""")
    accepted("promtool", "test", "rules", str(tmp_path / "test.yml"))


_BINS = ("0.5", "1", "2.5", "5", "10", "30", "120", "600", "+Inf")
_LATE = "".join(
    f'      - {{series: \'{name}_bucket{{worker="events", le="{end}"}}\', '
    f"values: '{'0x60' if end in _BINS[:5] else '0+10x60'}'}}\n"
    for name in ("worker_freshness_seconds", "worker_work_seconds")
    for end in _BINS
)
_REASON_FULL = {"reason": "queue_full"}
_RATE = {"reason": "rate_limited"}
_EVENTS = {"process": "events"}
_DROPPED = {"outcome": "dropped"}
FIRING = (
    ("PugQueueDown", "queue_up", "1x10 0x50", {}),
    ("PugQueueFull", 'ingest_refused_total{reason="queue_full"}', "0x10 0+1x50", _REASON_FULL),
    ("PugWorkerBroken", 'worker_broken{worker="email"}', "0x10 1x50", {"worker": "email"}),
    ("PugWorkerPaused", 'worker_paused{worker="events"}', "0x10 1x50", {"worker": "events"}),
    ("PugWorkerSilent", 'worker_report_age_seconds{process="events"}', "3x10 61x50", _EVENTS),
    ("PugQueueOld", 'queue_age_seconds{consumer="w"}', "0x10 61x50", {"consumer": "w"}),
    ("PugStale", "", "", {}),
    ("PugInsertSlow", "", "", {}),
    ("PugMessagesLost", 'nats_dlq_messages_total{outcome="dropped"}', "0x10 0+1x50", _DROPPED),
    ("PugDeadLetters", 'dead_letters{stream="events"}', "0x10 1x50", {"stream": "events"}),
    ("PugProjectLimited", 'ingest_refused_total{reason="rate_limited"}', "0x10 0+1x50", _RATE),
    (
        "PugSaltCorrupt",
        'events_cookieless_dropped_total{reason="salt_corrupt"}',
        "0x10 0+1x50",
        {"reason": "salt_corrupt"},
    ),
    (
        "PugProxyUnknown",
        'events_cookieless_identity_source_total{source="peer_after_rejected_header"}',
        "0x10 0+1x50",
        {"source": "peer_after_rejected_header"},
    ),
    (
        "PugSessionsDegraded",
        'events_cookieless_session_degraded_total{reason="get_failed"}',
        "0x10 0+1x50",
        {},
    ),
    (
        "PugErasureUncertain",
        'profiles_degraded_alias_erasure_total{outcome="failed_closed"}',
        "0x10 0+1x50",
        {"outcome": "failed_closed"},
    ),
)


@needs("promtool")
@pytest.mark.parametrize(("name", "series", "values", "labels"), FIRING, ids=lambda v: str(v)[:24])
def test_each_alert_of_the_stages_fires(
    tmp_path: Path, name: str, series: str, values: str, labels: dict[str, str]
):
    """Silent while all is well, on when it is not, with its own words; by Prometheus itself."""
    site = Site(domain=DOMAIN, host="h", port=1, tls=False, body_bytes_max=1, grpc_port=None)
    (tmp_path / "pug-rules.yml").write_text(TEMPLATES["prometheus-rules"](site))
    [alert] = [one for one in ALERTS if one.name == name]
    told = alert.summary
    for label, text in labels.items():
        told = told.replace(f"{{{{ $labels.{label} }}}}", text)
    given = f"      - {{series: '{series}', values: '{values}'}}\n" if series else _LATE
    expected = msgspec.json.encode(
        [
            {
                "exp_labels": {"severity": alert.severity, **labels},
                "exp_annotations": {"summary": told, "description": alert.remedy},
            }
        ]
    ).decode()
    (tmp_path / "test.yml").write_text(
        "rule_files: [pug-rules.yml]\nevaluation_interval: 1m\ntests:\n"
        f"  - interval: 1m\n    input_series:\n{given}    alert_rule_test:\n"
        f"      - {{eval_time: 3m, alertname: {name}, exp_alerts: []}}\n"
        f"      - {{eval_time: 55m, alertname: {name}, exp_alerts: {expected}}}\n"
    )
    accepted("promtool", "test", "rules", str(tmp_path / "test.yml"))


@needs("promtool")
def test_a_worker_that_never_told_anything(tmp_path: Path):
    """A series that is not there is an alert too."""
    site = Site(domain=DOMAIN, host="h", port=1, tls=False, body_bytes_max=1, grpc_port=None)
    (tmp_path / "pug-rules.yml").write_text(TEMPLATES["prometheus-rules"](site))
    [alert] = [one for one in ALERTS if one.name == "PugWorkerSilent"]
    (tmp_path / "test.yml").write_text(f"""
rule_files: [pug-rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'up{{job="pug"}}', values: '1x30'}}
    alert_rule_test:
      - eval_time: 10m
        alertname: PugWorkerSilent
        exp_alerts:
          - exp_labels: {{severity: critical, process: events}}
            exp_annotations: {{summary: "{alert.summary}", description: "{alert.remedy}"}}
""")
    accepted("promtool", "test", "rules", str(tmp_path / "test.yml"))


@needs("promtool")
def test_what_is_shown_is_prometheus_text():
    """`promtool check metrics` reads it; it grumbles only about names that the contract gives."""
    with api_process() as (port, _):
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_SECONDS).text
    result = subprocess.run(
        ["promtool", "check", "metrics"],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "error" not in result.stderr.lower(), result.stderr
    assert result.returncode in {0, 3}, result.stderr  # 3: a matter of style


def test_only_metrics_that_exist_are_named():
    """Every metric of an alert or a picture is shown by a running API that took an event."""
    expressions = [alert.expression for alert in ALERTS] + [panel.expression for panel in PANELS]
    words = re.compile(r"[a-z]+(?:_[a-z0-9]+)+|\bup\b")
    plain = " ".join(re.sub(r'"[^"]*"', "", expression) for expression in expressions)
    missing = set(words.findall(plain)) - {"histogram_quantile", "predict_linear", "up"}
    assert len(missing) > 20
    with (
        api_process() as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS) as client,
    ):
        client.post(BATCH_CREATE, json={"events": [event(1)]}, headers=PUBLIC)

        def shown() -> bool | None:
            """A request is counted when its answer is on its way."""
            lines = client.get("/metrics").text.splitlines()
            missing.difference_update(re.split("[{ ]", line)[0] for line in lines)
            return not missing or None

        try:
            until(shown, what="every metric", seconds=WAIT_SECONDS)
        finally:
            assert missing == set()


def test_grafana(site: Site):
    """Structure: every panel has a place of its own, a query and the data source of the input."""
    board = msgspec.json.decode(TEMPLATES["grafana"](site))
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in board["panels"]}
    assert len(places) == len(board["panels"]) == len(PANELS)
    assert len({one["id"] for one in board["panels"]}) == len(PANELS)
    for panel in board["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}"
        assert [target["refId"] for target in panel["targets"]] == ["A"]
    assert board["__inputs"][0]["name"] == "DS_PROMETHEUS"


@needs("promtool")
def test_questions_of_the_dashboard_are_promql(tmp_path: Path):
    """Prometheus itself reads them."""
    rules = "\n".join(
        f"  - record: panel{number}\n    expr: {msgspec.json.encode(panel.expression).decode()}"
        for number, panel in enumerate(PANELS)
    )
    path = tmp_path / "rules.yml"
    path.write_text(f"groups:\n- name: g\n  rules:\n{rules}\n")
    accepted("promtool", "check", "rules", str(path))


@needs("rsyslogd")
def test_rsyslog(site: Site, tmp_path: Path):
    """`rsyslogd -N1`."""
    path = tmp_path / "rsyslog.conf"
    path.write_text(TEMPLATES["rsyslog"](site))
    told = accepted("rsyslogd", "-N1", "-f", str(path))
    assert "error" not in told.lower(), told


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_the_command_prints_and_writes(name: str, tmp_path: Path):
    """The same text on standard output and in the file, filled from the settings."""
    run: Callable[..., object] = CliRunner().invoke
    where = ["--data-dir", str(tmp_path), "--set", "api.port=9123", "--domain", DOMAIN]
    printed = run(cli, ["template", name, *where])
    assert printed.exit_code == 0, printed.output
    output = tmp_path / "out"
    run(cli, ["template", name, *where, "--output", str(output)])
    assert output.read_text() == printed.stdout
    assert output.stat().st_mode & 0o777 == 0o644
    if name in {"nginx", "caddy", "docker-compose", "kubernetes", "prometheus"}:
        assert "9123" in printed.stdout


@pytest.mark.parametrize("domain", ["a b", "x;y", "", "-a", 'a"b', "a\nb"])
def test_a_domain_that_would_need_quoting_is_refused(domain: str, tmp_path: Path):
    """No text gets into somebody else's configuration that means something there."""
    with pytest.raises(InvalidInputError):
        make_site(Settings(data_dir=tmp_path), domain=domain, port=1)
