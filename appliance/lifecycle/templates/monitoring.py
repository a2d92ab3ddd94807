"""Prometheus and Grafana for the appliance's `/metrics`.

Invariant: only metrics that the appliance really shows are named; a test compares. When to be told
of what stands in `alerts.py`.
"""

from typing import Final

import msgspec

from appliance.lifecycle.templates.alerts import ALERTS, INGEST
from appliance.lifecycle.templates.site import Site


def render_prometheus(site: Site) -> str:
    """A scrape configuration."""
    tls = (
        f"""
    tls_config:
      # the certificate names {site.domain}; with a self-signed one: pug-appliance tls show --pem
      server_name: {site.domain}
      # ca_file: /etc/prometheus/pug.crt"""
        if site.tls
        else ""
    )
    return f"""\
# Scrapes the Pug Appliance. The rules are those of `pug-appliance template prometheus-rules`.
global:
  scrape_interval: 30s
  evaluation_interval: 30s

rule_files:
  - pug-rules.yml

scrape_configs:
  - job_name: pug
    scheme: {site.scheme}
    metrics_path: /metrics{tls}
    static_configs:
      - targets: ["{site.address}"]
"""


def render_rules(_site: Site) -> str:
    """Alert rules."""
    rules = "".join(
        f"""
      - alert: {alert.name}
        expr: {_quoted(alert.expression)}
        for: {alert.minutes}m
        labels:
          severity: {alert.severity}
        annotations:
          summary: {_quoted(alert.summary)}
          description: {_quoted(alert.remedy)}"""
        for alert in ALERTS
    )
    return f"""\
# Alerts of the Pug Appliance: pug-rules.yml beside prometheus.yml.
groups:
  - name: pug
    rules:{rules}
"""


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()  # a JSON string is a YAML string


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture: what it shows, in which unit, and the legend of its lines."""

    title: str
    expression: str
    unit: str = "short"
    legend: str = ""


PANELS: Final = (
    Panel(title="Events accepted per second", expression="rate(events_accepted_total[5m])"),
    Panel(
        title="Requests per second by answer",
        expression="sum by (code) (rate(rpc_requests_total[5m]))",
        unit="reqps",
        legend="{{code}}",
    ),
    Panel(
        title="Time of a batch, 99 of 100",
        expression=(
            "histogram_quantile(0.99, sum by (le) "
            f"(rate(rpc_request_seconds_bucket{{{INGEST}}}[5m])))"
        ),
        unit="s",
    ),
    Panel(
        title="Time of a question, 95 of 100",
        expression=(
            "histogram_quantile(0.95, sum by (le, service) (rate(rpc_request_seconds_bucket"
            '{service!="sdk.events.v1.EventsService"}[5m])))'
        ),
        unit="s",
        legend="{{service}}",
    ),
    Panel(
        title="Accepted until it can be asked for, 99 of 100",
        expression=(
            "histogram_quantile(0.99, sum by (le) "
            '(rate(worker_freshness_seconds_bucket{worker="events"}[5m])))'
        ),
        unit="s",
    ),
    Panel(
        title="Events inserted per second",
        expression='rate(worker_rows_total{worker="events"}[5m])',
    ),
    Panel(
        title="Time of an insert, 99 of 100",
        expression=(
            "histogram_quantile(0.99, sum by (le) "
            '(rate(worker_work_seconds_bucket{worker="events"}[5m])))'
        ),
        unit="s",
    ),
    Panel(
        title="Batches and messages that wait",
        expression="queue_waiting_messages",
        legend="{{consumer}}",
    ),
    Panel(
        title="Age of the oldest that waits",
        expression="queue_age_seconds",
        unit="s",
        legend="{{consumer}}",
    ),
    Panel(title="Dead letters", expression="dead_letters", legend="{{stream}}"),
    Panel(
        title="Batches refused by limits or a full queue",
        expression="increase(ingest_refused_total[5m])",
        legend="{{reason}}",
    ),
    Panel(
        title="Processor of the workers",
        expression="rate(worker_process_cpu_seconds_total[5m])",
        unit="percentunit",
        legend="{{process}}",
    ),
    Panel(title="Requests under way", expression="rpc_requests_in_progress"),
    Panel(title="Free disk", expression="disk_free_bytes", unit="bytes"),
    Panel(
        title="Batches refused for lack of disk",
        expression="increase(ingest_refused_disk_full_total[5m])",
    ),
    Panel(
        title="Certificate valid for",
        expression="(tls_certificate_expires_timestamp_seconds > 0) - time()",
        unit="s",
    ),
    Panel(
        title="Memory of the API",
        expression='process_resident_memory_bytes{job="pug"}',
        unit="bytes",
    ),
    Panel(
        title="Processor of the API",
        expression='rate(process_cpu_seconds_total{job="pug"}[5m])',
        unit="percentunit",
    ),
)
_WIDTH: Final = 12
_HEIGHT: Final = 8


def render_grafana(_site: Site) -> str:
    """A dashboard; Grafana asks for the Prometheus data source when it is imported."""
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    panels: list[dict[str, object]] = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": panel.title,
            "datasource": source,
            "gridPos": {
                "h": _HEIGHT,
                "w": _WIDTH,
                "x": number % 2 * _WIDTH,
                "y": number // 2 * _HEIGHT,
            },
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
            "targets": [
                {
                    "refId": "A",
                    "datasource": source,
                    "expr": panel.expression,
                    "legendFormat": panel.legend or panel.title,
                }
            ],
        }
        for number, panel in enumerate(PANELS)
    ]
    board: dict[str, object] = {
        "__inputs": [
            {
                "name": "DS_PROMETHEUS",
                "label": "Prometheus",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "uid": "pug-appliance",
        "title": "Pug Appliance",
        "tags": ["pug"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": panels,
    }
    return msgspec.json.format(msgspec.json.encode(board), indent=2).decode() + "\n"
