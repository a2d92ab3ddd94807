"""Whether the settings are understood, and fit for others than their author."""

from collections.abc import Iterator
from typing import Final

from appliance.config.model import LogLevel
from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, note, ok
from appliance.lifecycle.doctor.facts import Facts, Subject


def judge_settings(facts: Facts) -> Iterator[Verdict]:
    config = facts.config
    if config.unreadable:
        yield note(f"{config.unreadable} may not be read by this user", "run it with sudo")
        return
    if config.error:
        yield failed(config.error, config.hint or "correct the file")
    for problem in config.problems:
        yield failed(problem, "correct it; `pug-appliance config check` shows all of them")
    if not config.error and not config.problems:
        yield ok("every setting is understood")


def judge_names_without_effect(facts: Facts) -> Iterator[Verdict]:
    names = facts.config.without_effect
    if names:
        yield note(
            f"{', '.join(names)} set nothing here",
            "remove them; `pug-appliance config check` tells why each has no effect",
        )
    else:
        yield ok("no name without effect is set")


def judge_origins(facts: Facts) -> Iterator[Verdict]:
    if "*" not in facts.settings.api.cors_origins:
        yield ok("only the listed origins may call from a browser")
    elif facts.exposed:
        yield advice(
            facts,
            "pages of any origin may call the dashboard's interface",
            "list the dashboard's origins in api.cors_origins; SDKs are not affected",
        )
    else:
        yield ok("any origin may call, and only from this machine")


def judge_demo(facts: Facts) -> Iterator[Verdict]:
    if facts.settings.demo.enabled:
        yield advice(
            facts,
            "demo traffic is produced and shown among real events",
            "set demo.enabled = false",
        )
    else:
        yield ok("no demo traffic")


def judge_log_level(facts: Facts) -> Iterator[Verdict]:
    if facts.settings.logs.level is LogLevel.DEBUG:
        yield advice(
            facts, "the log keeps debugging lines, which are many", 'set logs.level = "info"'
        )
    else:
        yield ok(f"the log keeps lines from {facts.settings.logs.level} on")


CHECKS: Final = (
    Check(
        name="settings",
        subject=Subject.CONFIGURATION,
        question="Is every setting understood?",
        judge=judge_settings,
    ),
    Check(
        name="settings-without-effect",
        subject=Subject.CONFIGURATION,
        question="Is a name set that does nothing here?",
        judge=judge_names_without_effect,
    ),
    Check(
        name="origins",
        subject=Subject.CONFIGURATION,
        question="May pages of any origin call the dashboard's interface?",
        judge=judge_origins,
    ),
    Check(
        name="demo",
        subject=Subject.CONFIGURATION,
        question="Is invented traffic mixed with real events?",
        judge=judge_demo,
    ),
    Check(
        name="log-level",
        subject=Subject.CONFIGURATION,
        question="Is the log as short as it should be?",
        judge=judge_log_level,
    ),
)
