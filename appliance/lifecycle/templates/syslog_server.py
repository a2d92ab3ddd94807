"""rsyslog on the machine that collects the logs.

Invariant: it takes what `logs.syslog` sends, and its own files are bounded like ours.
"""

from typing import Final
from urllib.parse import urlsplit

from appliance.lifecycle.templates.site import Site

_PORTS: Final = {"udp": 514, "tcp": 514, "tls": 6514}


def render_rsyslog(site: Site) -> str:
    """A file for /etc/rsyslog.d; without `logs.syslog` it listens on TCP 514."""
    parts = urlsplit(site.syslog)
    scheme = parts.scheme if parts.scheme in _PORTS else "tcp"
    port = parts.port or _PORTS[scheme]
    module = "imudp" if scheme == "udp" else "imtcp"
    tls = (
        f"""
# TLS needs the package rsyslog-gnutls.
global(
  defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCertFile="{site.certificate}"
  defaultNetstreamDriverKeyFile="{site.key}"
)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")"""
        if scheme == "tls"
        else f'module(load="{module}")'
    )
    return f"""\
# Collects the logs of the Pug Appliance: /etc/rsyslog.d/30-pug.conf on the collecting machine.
# On the appliance: logs.syslog = "{scheme}://COLLECTOR:{port}"
{tls}

template(name="pug_file" type="string" string="/var/log/pug/%hostname%/%app-name%.log")
template(name="pug_line" type="list") {{
  property(name="timereported" dateFormat="rfc3339")
  constant(value=" ")
  property(name="syslogseverity-text")
  constant(value=" ")
  property(name="msg")
  constant(value=" ")
  property(name="structured-data")
  constant(value="\\n")
}}

# A rule set of its own: nothing of the appliance ends up among the machine's own lines.
ruleset(name="pug") {{
  if $app-name startswith "pug-" then {{
    action(type="omfile" dynaFile="pug_file" template="pug_line"
           dirCreateMode="0750" fileCreateMode="0640" createDirs="on")
  }}
}}

input(type="{module}" port="{port}" ruleset="pug")

# Bounded for ever: put this into /etc/logrotate.d/pug
#   /var/log/pug/*/*.log {{
#     size 50M
#     rotate 10
#     compress
#     missingok
#     postrotate
#       /usr/lib/rsyslog/rsyslog-rotate
#     endscript
#   }}
"""
