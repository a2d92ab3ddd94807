"""Configuration of reverse proxies in front of the public port.

Invariant: the proxy says who the client is and lets nobody else say it: the appliance believes what
a trusted proxy says in `X-Forwarded-For`, and a content network's headers where it is told to
[ingestion 4].
"""

from appliance.lifecycle.templates.site import Site


def render_nginx(site: Site) -> str:
    """A server block for the `http` context, like a file in /etc/nginx/conf.d."""
    removed = "\n".join(f'        proxy_set_header {name} "";' for name in site.removed_headers)
    verify = "" if not site.tls else "\n        proxy_ssl_server_name on;"
    return f"""\
# {site.domain} in front of the Pug Appliance at {site.address}.
# Put it into /etc/nginx/conf.d/pug.conf, then: nginx -t && systemctl reload nginx

upstream pug_appliance {{
    server {site.address};
    keepalive 32;
}}

server {{
    listen 80;
    listen [::]:80;
    server_name {site.domain};
    return 301 https://$host$request_uri;
}}

server {{
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name {site.domain};

    ssl_certificate     {site.certificate};
    ssl_certificate_key {site.key};
    ssl_protocols       TLSv1.2 TLSv1.3;
    ssl_session_cache   shared:pug:1m;

    # The appliance checks sizes itself; nginx must not be stricter.
    client_max_body_size {site.body_bytes_max};

    # Numbers for Prometheus are for the inside.
    location = /metrics {{
        return 404;
    }}

    location / {{
        proxy_pass {site.scheme}://pug_appliance;{verify}
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
        # Set, not appended: only the address that nginx sees is true. Behind another proxy or a
        # content network use its real_ip settings, and keep its headers below.
        proxy_set_header X-Forwarded-For $remote_addr;
{removed}
        # Answers that are streams leave at once; a slow question may take its time.
        proxy_buffering off;
        proxy_read_timeout 300s;
        # While the appliance is upgraded requests wait in its socket; never send one twice.
        proxy_connect_timeout 30s;
        proxy_next_upstream off;
    }}
}}
"""


def render_caddy(site: Site) -> str:
    """A Caddyfile."""
    removed = "\n".join(f"        header_up -{name}" for name in site.removed_headers)
    transport = (
        """
        transport http {
            tls_insecure_skip_verify
        }"""
        if site.tls
        else ""
    )
    return f"""\
# {site.domain} in front of the Pug Appliance at {site.address}.
# Put it into /etc/caddy/Caddyfile, then: caddy validate --config /etc/caddy/Caddyfile
{{
    # No authority of the internet is asked from an isolated network.
    auto_https disable_certs
}}

http://{site.domain} {{
    redir https://{{host}}{{uri}} permanent
}}

https://{site.domain} {{
    tls {site.certificate} {site.key}

    request_body {{
        max_size {site.body_bytes_max}
    }}

    # Numbers for Prometheus are for the inside.
    respond /metrics 404

    reverse_proxy {site.scheme}://{site.address} {{
        # Set, not appended: only the address that Caddy sees is true.
        header_up X-Forwarded-For {{remote_host}}
{removed}
        # Answers that are streams leave at once.
        flush_interval -1{transport}
    }}
}}
"""
