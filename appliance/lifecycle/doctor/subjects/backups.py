"""Whether everything could be had back."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import BackupFacts, Facts, Mode, Subject

AGE_WARNING: Final = timedelta(days=2)
AGE_FAILED: Final = timedelta(days=7)
VERIFIED_AGE_MAX: Final = timedelta(days=30)
FUTURE_MAX: Final = timedelta(hours=1)


def judge_newest(facts: Facts) -> Iterator[Verdict]:
    if facts.backups is None:
        return
    now = facts.place.now
    points = _points(facts)
    # One that a clock of the future dated would look fresh for years.
    newest = max((one for one in points if one - now <= FUTURE_MAX), default=None)
    make = "run `pug-appliance backup create`, and see `systemctl status pug-backup.timer`"
    installed = facts.place.mode is Mode.INSTALLED
    if newest is None and points:
        yield warning(
            f"every backup is dated in the future, the first one {min(points):%Y-%m-%d %H:%M} UTC",
            "set the clock, then run `pug-appliance backup create`",
        )
        return
    if newest is None:
        first = facts.backups.first_use
        if installed and first is not None and now - first > AGE_WARNING:
            yield failed("there is no backup at all", make)
        else:
            yield advice(facts, "there is no backup yet", "run `pug-appliance backup create`")
        return
    age = now - newest
    cause = f"the newest backup is of {newest:%Y-%m-%d %H:%M} UTC"
    if installed and age > AGE_FAILED:
        yield failed(f"{cause}, {age.days} days ago", make)
    elif age > AGE_WARNING:
        yield advice(facts, f"{cause}, {age.days} days ago", make)
    else:
        yield ok(cause)


def judge_verified(facts: Facts) -> Iterator[Verdict]:
    backups = _all(facts)
    if not backups:
        return
    bad = [one for one in backups if one.verified is False]
    for one in bad:
        yield failed(
            f"backup {one.id} could not be restored when it was verified",
            "make another: `pug-appliance backup create`, and look at the disk it lies on",
        )
    good = [one for one in backups if one.verified]
    if bad:
        return
    if not good:
        yield advice(
            facts, "no backup was ever verified", "run `pug-appliance backup verify` on the newest"
        )
    elif all(
        facts.place.now - one.verified_at > VERIFIED_AGE_MAX for one in good if one.verified_at
    ):
        yield advice(
            facts,
            "no backup was verified in the last 30 days",
            "run `pug-appliance backup verify` on the newest",
        )
    else:
        yield ok("a recent backup was verified by restoring it")


def judge_elsewhere(facts: Facts) -> Iterator[Verdict]:
    if facts.backups is None or not _all(facts):
        return
    if all(target.same_disk for target in facts.backups.targets if target.backups):
        yield advice(
            facts,
            "every backup lies on the disk it is to protect against",
            "add a folder on another disk or mount to backup.targets",
        )
    else:
        yield ok("there are backups on another disk")


def judge_whole(facts: Facts) -> Iterator[Verdict]:
    if facts.backups is None:
        return
    damaged = [(target.path, name) for target in facts.backups.targets for name in target.damaged]
    for path, name in damaged:
        yield failed(
            f"the manifest of backup {name} in {path} is damaged",
            "restore from another one; check that disk before it gets more backups",
        )
    if _all(facts) and not damaged:
        yield ok(f"backups with whole manifests: {len(_all(facts))}")


def judge_targets(facts: Facts) -> Iterator[Verdict]:
    if facts.backups is None:
        return
    wrong = False
    for target in facts.backups.targets:
        if target.error:
            wrong = True
            yield warning(
                f"the target {target.path} cannot be looked at: {target.error}",
                "mount it, or correct its permissions",
            )
        elif target.missing and facts.settings.backup.targets:
            wrong = True
            yield failed(
                f"the target {target.path} does not exist", "mount it, or correct backup.targets"
            )
    if facts.backups.passphrase_problem:
        wrong = True
        yield failed(
            facts.backups.passphrase_problem,
            "make the file with mode 0600 and the passphrase in it; keep a copy elsewhere",
        )
    if not wrong:
        yield ok("every target can be reached")


def judge_sealed(facts: Facts) -> Iterator[Verdict]:
    if facts.backups is None:
        return
    if not any(target.backups and not target.same_disk for target in facts.backups.targets):
        return
    open_targets = [
        target.path
        for target in facts.backups.targets
        if not target.same_disk and any(not one.encrypted for one in target.backups)
    ]
    if open_targets:
        yield note(
            f"backups in {', '.join(open_targets)} are not encrypted, and they hold personal data",
            "set backup.passphrase_file and use a fresh target",
        )
    else:
        yield ok("backups that leave this disk are encrypted")


def judge_points(facts: Facts) -> Iterator[Verdict]:
    """What `rollback` goes back to when the schema has moved on."""
    if facts.backups is None or facts.place.mode is not Mode.INSTALLED:
        return
    for name in facts.backups.restore_points_damaged:
        yield warning(
            f"the restore point {name} cannot be read",
            "make another: `pug-appliance backup restore-point create`",
        )
    previous = facts.release.previous if facts.release is not None else ""
    if previous and not facts.backups.restore_points:
        yield note(
            f"there is no restore point to roll back to {previous} with",
            "the next upgrade makes one; until then `backup restore` leads back",
        )
    elif not facts.backups.restore_points_damaged:
        yield ok(f"restore points: {facts.backups.restore_points}")


def _all(facts: Facts) -> list[BackupFacts]:
    targets = facts.backups.targets if facts.backups is not None else ()
    return [one for target in targets for one in target.backups]


def _points(facts: Facts) -> list[datetime]:
    return [one.point for one in _all(facts) if one.point is not None]


CHECKS: Final = (
    Check(
        name="backup-age",
        subject=Subject.BACKUPS,
        question="How old is the newest backup?",
        judge=judge_newest,
    ),
    Check(
        name="backup-verified",
        subject=Subject.BACKUPS,
        question="Was a backup ever restored to see whether it can be?",
        judge=judge_verified,
    ),
    Check(
        name="backup-elsewhere",
        subject=Subject.BACKUPS,
        question="Do backups survive the loss of the disk?",
        judge=judge_elsewhere,
    ),
    Check(
        name="backup-whole",
        subject=Subject.BACKUPS,
        question="Are the manifests of all backups whole?",
        judge=judge_whole,
    ),
    Check(
        name="backup-targets",
        subject=Subject.BACKUPS,
        question="Can every target be reached, and the passphrase be read?",
        judge=judge_targets,
    ),
    Check(
        name="backup-sealed",
        subject=Subject.BACKUPS,
        question="Are backups that leave this disk encrypted?",
        judge=judge_sealed,
    ),
    Check(
        name="restore-points",
        subject=Subject.BACKUPS,
        question="Is there a restore point for a rollback?",
        judge=judge_points,
    ),
)
