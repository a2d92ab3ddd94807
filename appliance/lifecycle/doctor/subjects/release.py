"""Whether the installed release is whole, ours, and not in the middle of a change."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Mode, Subject

RELEASES_MAX: Final = 4
_SHOWN_MAX: Final = 5


def judge_current(facts: Facts) -> Iterator[Verdict]:
    release = facts.release
    if release is None or facts.place.mode is not Mode.INSTALLED:
        return
    if release.current_problem:
        yield failed(
            release.current_problem, "run `pug-appliance recover`, else install the bundle again"
        )
    else:
        yield ok(f"release {release.version} is in use")


def judge_operation(facts: Facts) -> Iterator[Verdict]:
    release = facts.release
    if release is None or facts.place.mode is not Mode.INSTALLED:
        return
    if release.open_operation:
        since = f" since {release.open_since}" if release.open_since else ""
        yield failed(
            f"an operation ({release.open_operation}) is open{since}",
            "wait if it still runs, else run `pug-appliance recover`",
        )
    elif release.staged:
        yield warning(
            f"an earlier operation left {', '.join(release.staged[:_SHOWN_MAX])} in staging",
            "run `pug-appliance recover`; it removes them",
        )
    else:
        yield ok("no operation is open")


def judge_signature(facts: Facts) -> Iterator[Verdict]:
    release = facts.release
    if release is None or facts.place.mode is not Mode.INSTALLED:
        return
    if release.signature_error:
        yield failed(
            f"the release in use is not signed as it should be: {release.signature_error}",
            "find out who changed it, then install the signed bundle again",
        )
    elif release.signed_by:
        yield ok(f"the release is signed by key {release.signed_by}")


def judge_content(facts: Facts) -> Iterator[Verdict]:
    release = facts.release
    if release is None or not release.compared:
        return
    for path in release.differing[:_SHOWN_MAX]:
        yield failed(
            f"{path} is not what the signed manifest says",
            "find out who changed it, then install the signed bundle again",
        )
    if not release.differing:
        yield ok(f"{release.compared} files of the release are what was signed")


def judge_keys(facts: Facts) -> Iterator[Verdict]:
    release = facts.release
    if release is None or facts.place.mode is not Mode.INSTALLED:
        return
    for name in release.bad_keys:
        yield warning(f"{name} is no public key", "remove it from the trusted keys")
    if not release.trusted_keys:
        yield warning(
            "no key is trusted: no bundle can be installed as an upgrade",
            "run `pug-appliance signing trust KEY` with the vendor's public key",
        )
    elif not release.bad_keys:
        yield ok(f"trusted keys: {', '.join(release.trusted_keys)}")


def judge_kept(facts: Facts) -> Iterator[Verdict]:
    release = facts.release
    if release is None or facts.place.mode is not Mode.INSTALLED:
        return
    if len(release.installed) > RELEASES_MAX:
        yield note(
            f"{len(release.installed)} releases are kept: {', '.join(release.installed)}",
            "remove old ones; `pug-appliance releases` shows which are needed",
        )
    else:
        yield ok(f"releases kept: {', '.join(release.installed)}")


CHECKS: Final = (
    Check(
        name="release",
        subject=Subject.RELEASE,
        question="Is a whole release in use?",
        judge=judge_current,
    ),
    Check(
        name="operation",
        subject=Subject.RELEASE,
        question="Is an install, upgrade or rollback unfinished?",
        judge=judge_operation,
    ),
    Check(
        name="signature",
        subject=Subject.RELEASE,
        question="Is the release signed by a trusted key?",
        judge=judge_signature,
    ),
    Check(
        name="release-files",
        subject=Subject.RELEASE,
        question="Are the program's files what was signed?",
        judge=judge_content,
    ),
    Check(
        name="trusted-keys",
        subject=Subject.RELEASE,
        question="Whose bundles are accepted?",
        judge=judge_keys,
    ),
    Check(
        name="releases-kept",
        subject=Subject.RELEASE,
        question="Are old releases piling up?",
        judge=judge_kept,
    ),
)
