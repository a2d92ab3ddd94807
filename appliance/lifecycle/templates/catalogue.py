"""Which templates there are."""

from collections.abc import Callable
from typing import Final

from appliance.lifecycle.templates.containers import render_compose, render_kubernetes
from appliance.lifecycle.templates.monitoring import (
    render_grafana,
    render_prometheus,
    render_rules,
)
from appliance.lifecycle.templates.proxies import render_caddy, render_nginx
from appliance.lifecycle.templates.site import Site
from appliance.lifecycle.templates.syslog_server import render_rsyslog

TEMPLATES: Final[dict[str, Callable[[Site], str]]] = {
    "nginx": render_nginx,
    "caddy": render_caddy,
    "docker-compose": render_compose,
    "kubernetes": render_kubernetes,
    "prometheus": render_prometheus,
    "prometheus-rules": render_rules,
    "grafana": render_grafana,
    "rsyslog": render_rsyslog,
}
