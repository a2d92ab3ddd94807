"""Whether paths exist, belong to whom they should, and say no to everybody else."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, failed, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Mode, PathFacts, SecretFacts, Subject

SECRET_BITS_MIN: Final = 128
_SHOWN_MAX: Final = 10
_PRIVATE: Final = 0o600
_OTHERS_WRITE: Final = 0o022
_EVERYBODY_ELSE: Final = 0o077


def judge_present(facts: Facts) -> Iterator[Verdict]:
    if facts.files is None:
        return
    missing = [one for one in facts.files.paths if one.required and not one.found]
    for one in _first(missing):
        what = "folder" if one.folder else "file"
        again = (
            "restore it, or run `pug-appliance install` again"
            if facts.place.mode is Mode.INSTALLED
            else "start with `pug-appliance run`, or name the right --data-dir"
        )
        yield failed(f"the {what} {one.path} is missing", again)
    if not missing:
        yield ok("every folder is there")


def judge_private(facts: Facts) -> Iterator[Verdict]:
    """Secrets and keys are refused at start when others can read them."""
    if facts.files is None:
        return
    files = [one for one in facts.files.paths if _is_private_file(one)]
    exposed = [one for one in files if one.found_mode & _EVERYBODY_ELSE]
    for one in _first(exposed):
        yield failed(
            f"{one.path} has mode {one.found_mode:04o}: others than its owner can reach it",
            f"replace what is in it, then run `chmod {one.mode:o} {one.path}`",
        )
    if not exposed:
        yield ok("secrets and private files can be read by their owners only")


def judge_modes(facts: Facts) -> Iterator[Verdict]:
    if facts.files is None:
        return
    wrong = [
        one
        for one in facts.files.paths
        if one.found and not one.link and not _is_private_file(one) and _has_wrong_mode(one)
    ]
    for one in _first(wrong):
        remedy = f"run `chmod {one.mode:o} {one.path}`"
        cause = f"{one.path} has mode {one.found_mode:04o} instead of {one.mode:04o}"
        if one.found_mode & ~one.mode & _OTHERS_WRITE:
            yield failed(f"{cause}: others can change it", remedy)
        else:
            yield warning(cause, remedy)
    if not wrong:
        yield ok("every mode is as it should be")


def judge_owners(facts: Facts) -> Iterator[Verdict]:
    if facts.files is None:
        return
    wrong = [
        one for one in facts.files.paths if one.found and one.owner not in {"", one.found_owner}
    ]
    for one in _first(wrong):
        yield failed(
            f"{one.path} belongs to {one.found_owner} instead of {one.owner}",
            f"run `chown {one.owner}: {one.path}`",
        )
    if not wrong:
        yield ok("every owner is as it should be")


def judge_passage(facts: Facts) -> Iterator[Verdict]:
    """An engine runs as an account of its own and must get to its folder."""
    if facts.files is None:
        return
    for folder, account in facts.files.barred:
        yield failed(
            f"the account {account} cannot pass through {folder} to its folder in the data",
            f"run `chmod o+x {folder}`, or move data_dir",
        )
    if not facts.files.barred:
        yield ok("every engine can reach its folder")


def judge_secrets_present(facts: Facts) -> Iterator[Verdict]:
    if facts.secrets is None:
        return
    missing = [one for one in facts.secrets.secrets if not one.found]
    used = facts.running or any(one.found for one in facts.secrets.secrets)
    if missing and not used and facts.place.mode is Mode.DEVELOPER:
        return  # made at the first start
    for one in missing:
        yield failed(
            f"the secret file {one.path} is missing",
            "restore it from a backup; secrets are made only once",
        )
    if not missing:
        yield ok("every secret is there")


def judge_secrets_strong(facts: Facts) -> Iterator[Verdict]:
    if facts.secrets is None:
        return
    there = [one for one in facts.secrets.secrets if one.found]
    weak = [one for one in there if one.bits < SECRET_BITS_MIN]
    for one in weak:
        yield _judge_weak(one)
    if there and not weak:
        yield ok(f"every secret takes {min(one.bits for one in there)} bits of guessing or more")


def _judge_weak(one: SecretFacts) -> Verdict:
    if not one.bits:
        return failed(f"{one.name} is empty", "set a random text of 32 letters or more")
    cause = f"{one.name} takes at most {one.bits} bits of guessing, {SECRET_BITS_MIN} are expected"
    if one.own:
        return failed(cause, f"write `openssl rand -hex 32` into {one.path} and restart")
    return warning(cause, "choose a random text of 32 letters or more")


def _first(paths: list[PathFacts]) -> list[PathFacts]:
    return paths[:_SHOWN_MAX]


def _is_private_file(one: PathFacts) -> bool:
    return one.found and not one.link and not one.folder and one.mode == _PRIVATE


def _has_wrong_mode(one: PathFacts) -> bool:
    return one.found_mode != one.mode if one.exact else bool(one.found_mode & ~one.mode)


CHECKS: Final = (
    Check(
        name="folders",
        subject=Subject.FILES,
        question="Is every folder and file there?",
        judge=judge_present,
    ),
    Check(
        name="private-files",
        subject=Subject.FILES,
        question="Can others read secrets, keys or the settings?",
        judge=judge_private,
    ),
    Check(
        name="modes",
        subject=Subject.FILES,
        question="Are the modes of folders and programs what they should be?",
        judge=judge_modes,
    ),
    Check(
        name="owners",
        subject=Subject.FILES,
        question="Does every path belong to its account?",
        judge=judge_owners,
    ),
    Check(
        name="passage",
        subject=Subject.FILES,
        question="Can every engine reach its folder?",
        judge=judge_passage,
    ),
    Check(
        name="secrets-present",
        subject=Subject.SECRETS,
        question="Is every secret there?",
        judge=judge_secrets_present,
    ),
    Check(
        name="secrets-strong",
        subject=Subject.SECRETS,
        question="Can a secret be guessed?",
        judge=judge_secrets_strong,
    ),
)
