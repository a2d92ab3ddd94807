"""The appliance in a container: Docker Compose and Kubernetes.

Invariant: one container, one volume, no root, no capability, nothing written outside the volume.
The engines live inside, so there is never more than one container on a volume.
"""

from typing import Final

from appliance.lifecycle.templates.site import Site

_CONTAINER_PORT: Final = 8080
_USER: Final = 10001


def render_compose(site: Site) -> str:
    """A compose file beside the unpacked release."""
    folder = f"pug-appliance-{site.release}-linux-x86_64"
    return f"""\
# The Pug Appliance in one container. Put this file beside the unpacked folder {folder},
# then: docker compose up --build --detach
# Without internet, bring the base image on a stick: docker save debian:12-slim | docker load
name: pug

services:
  appliance:
    image: pug-appliance:{site.release}
    build:
      context: ./{folder}
      dockerfile_inline: |
        FROM debian:12-slim
        RUN useradd --system --uid {_USER} --no-create-home --shell /usr/sbin/nologin pug \\
            && install -d -o pug -g pug -m 0700 /var/lib/pug
        COPY . /opt/pug
        USER pug
    command: ["/opt/pug/pug-appliance", "run"]
    user: "{_USER}"
    environment:
      PUG_DATA_DIR: /var/lib/pug
      PUG_SERVER_HOST: 0.0.0.0
      PUG_SERVER_PORT: "{_CONTAINER_PORT}"
    ports:
      - "{site.port}:{_CONTAINER_PORT}"
    volumes:
      - data:/var/lib/pug
    read_only: true
    tmpfs:
      - /tmp:mode=1777,size=64m
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    ulimits:
      nofile: 262144
      core: 0
    stop_grace_period: 90s
    restart: unless-stopped
    healthcheck:
      test: ["CMD", "/opt/pug/pug-appliance", "status"]
      interval: 30s
      timeout: 10s
      start_period: 120s
    logging:
      driver: json-file
      options: {{max-size: "16m", max-file: "4"}}

volumes:
  data:
"""


def render_kubernetes(site: Site) -> str:
    """A StatefulSet with its services; the image is the one of the compose file."""
    labels = "app.kubernetes.io/name: pug-appliance"
    return f"""\
# The Pug Appliance in Kubernetes: kubectl apply --filename pug.yaml
# The image is the one that `pug-appliance template docker-compose` builds, in your registry.
apiVersion: v1
kind: Service
metadata:
  name: pug-appliance
  labels: {{{labels}}}
spec:
  selector: {{{labels}}}
  ports:
    - name: http
      port: {site.port or _CONTAINER_PORT}
      targetPort: http
---
apiVersion: v1
kind: Service
metadata:
  name: pug-appliance-headless
  labels: {{{labels}}}
spec:
  clusterIP: None
  selector: {{{labels}}}
  ports:
    - name: http
      port: {_CONTAINER_PORT}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: pug-appliance
  labels: {{{labels}}}
spec:
  # Never more than one: the engines inside own the volume.
  replicas: 1
  serviceName: pug-appliance-headless
  selector:
    matchLabels: {{{labels}}}
  template:
    metadata:
      labels: {{{labels}}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{_CONTAINER_PORT}"
        prometheus.io/path: /metrics
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 90
      securityContext:
        runAsNonRoot: true
        runAsUser: {_USER}
        runAsGroup: {_USER}
        fsGroup: {_USER}
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: appliance
          image: registry.example.internal/pug-appliance:{site.release}
          command: ["/opt/pug/pug-appliance", "run"]
          env:
            - {{name: PUG_DATA_DIR, value: /var/lib/pug/data}}
            - {{name: PUG_SERVER_HOST, value: 0.0.0.0}}
            - {{name: PUG_SERVER_PORT, value: "{_CONTAINER_PORT}"}}
          ports:
            - {{name: http, containerPort: {_CONTAINER_PORT}}}
          # The store needs time after a crash; until then nobody kills it.
          startupProbe:
            httpGet: {{path: /readyz, port: http}}
            periodSeconds: 5
            failureThreshold: 120
          readinessProbe:
            httpGet: {{path: /readyz, port: http}}
            periodSeconds: 5
            timeoutSeconds: 3
          livenessProbe:
            httpGet: {{path: /healthz, port: http}}
            periodSeconds: 20
            timeoutSeconds: 5
            failureThreshold: 6
          resources:
            requests: {{cpu: "1", memory: 1Gi}}
            limits: {{memory: 4Gi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          volumeMounts:
            - {{name: data, mountPath: /var/lib/pug}}
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: tmp
          emptyDir: {{sizeLimit: 64Mi}}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        resources:
          requests: {{storage: 50Gi}}
"""
