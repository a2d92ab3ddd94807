"""Whether the public port answers, and nobody else's does."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from appliance.engines.http_door import HTTP_OK
from appliance.lifecycle.doctor.check import Check, Verdict, failed, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Listener, Subject

SLOW_SECONDS: Final = 1.0


def judge_public(facts: Facts) -> Iterator[Verdict]:
    if facts.ports is None or not facts.running:
        return
    public = facts.ports.public
    where = f"{public.scheme} port {public.port}"
    see = "see `pug-appliance logs api`"
    if public.error:
        yield failed(f"{where} does not answer: {public.error}", see)
    elif public.status != HTTP_OK:
        yield failed(
            f"{where} answers /healthz with {public.status}",
            "another program listens there; stop it or set api.port",
        )
    elif public.seconds > SLOW_SECONDS:
        yield warning(
            f"{where} takes {public.seconds:.1f} s to say that it is alive",
            "look for what keeps the machine busy: `pug-appliance status`",
        )
    else:
        yield ok(f"{where} answers in {public.seconds * 1000:.0f} ms")


def judge_ready(facts: Facts) -> Iterator[Verdict]:
    if facts.ports is None or facts.ports.public.status != HTTP_OK:
        return
    public = facts.ports.public
    if public.ready_status == HTTP_OK:
        yield ok("every store answers the API")
        return
    # The salts' store keeps the name it has in the contract, and lives in the queue.
    names = ", ".join(name for name in public.not_ready if name != "redis") or "a store"
    yield failed(
        f"the API is not ready: {names} does not answer",
        "see `pug-appliance status` and its causes",
    )


def judge_taken(facts: Facts) -> Iterator[Verdict]:
    if facts.ports is None or facts.ports.listeners is None or facts.running:
        return
    if facts.services is None or facts.services.hidden:
        return
    port = facts.ports.public.port
    for one in facts.ports.listeners:
        if one.port == port and one.process not in {"systemd", "pug-appliance"}:
            yield failed(
                f"port {port} is taken by {_holder(one)}", "stop that program or set api.port"
            )
            return
    yield ok(f"port {port} is free for the appliance")


def judge_loopback(facts: Facts) -> Iterator[Verdict]:
    """An engine has a password of its own, and still must not be reached from elsewhere."""
    if facts.ports is None or facts.ports.listeners is None or not facts.running:
        return
    open_doors = [one for one in facts.ports.listeners if _is_foreign(one) and _engine(facts, one)]
    for one in open_doors:
        yield failed(
            f"{_engine(facts, one)} listens on {one.address}:{one.port}, which others can reach",
            "remove what makes it listen there (operator.conf?), and restart it",
        )
    if not open_doors:
        yield ok("the engines listen on loopback only")


def _engine(facts: Facts, one: Listener) -> str:
    assert facts.ports is not None
    by_port = facts.ports.engine_ports.get(one.port, "")
    return facts.ports.engine_pids.get(one.pid or 0, by_port)


def _is_foreign(one: Listener) -> bool:
    return not ip_address(one.address.partition("%")[0]).is_loopback


def _holder(one: Listener) -> str:
    if one.pid is None:
        return "another program"
    return f"pid {one.pid} ({one.process})"


CHECKS: Final = (
    Check(
        name="public-port",
        subject=Subject.PORTS,
        question="Does the public port answer, and quickly?",
        judge=judge_public,
    ),
    Check(
        name="api-ready",
        subject=Subject.PORTS,
        question="Does every store answer the API?",
        judge=judge_ready,
    ),
    Check(
        name="port-taken",
        subject=Subject.PORTS,
        question="Does another program hold the public port?",
        judge=judge_taken,
    ),
    Check(
        name="engines-on-loopback",
        subject=Subject.PORTS,
        question="Can an engine be reached from another machine?",
        judge=judge_loopback,
    ),
)
