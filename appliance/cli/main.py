"""The command line: which commands exist, and how a failure becomes one line and a status.

Invariant: a command's module is imported only when that command runs, so `--help` is quick and the
machine half never pays for the product half. Exit statuses are listed in `docs/command-line.md`.
"""

import difflib
import importlib
import sys
import traceback
from typing import Final, NoReturn

import click
import msgspec

from appliance.base.errors import EXIT_BUG, ApplianceError

PROGRAM: Final = "pug-appliance"
_EXIT_USAGE: Final = 2
_EXIT_INTERRUPTED: Final = 130
_DEBUG_FLAG: Final = "--debug"

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "quickstart": ("appliance.cli.quickstart:quickstart", "Run everything and try it out."),
    "install": ("appliance.cli.install:install", "Install the unpacked bundle on this machine."),
    "uninstall": ("appliance.cli.uninstall:uninstall", "Remove the appliance from this machine."),
    "run": ("appliance.cli.run:run", "Run the whole appliance in the foreground."),
    "status": ("appliance.cli.status:status", "Show every component of the running appliance."),
    "logs": ("appliance.cli.logs:logs", "Show the log lines of components."),
    "stop": ("appliance.cli.status:stop", "Stop the running appliance."),
    "restart": ("appliance.cli.status:restart", "Restart one component."),
    "config": ("appliance.cli.config:config", "Show and check the settings."),
    "server": ("appliance.cli.server:server", "Serve the HTTP API (started by `run`)."),
    "worker": ("appliance.cli.worker:worker", "Run a queue worker (started by `run`)."),
    "postgres": ("appliance.cli.stores:postgres", "The relational store."),
    "clickhouse": ("appliance.cli.stores:clickhouse", "The event store."),
    "nats": ("appliance.cli.stores:nats", "The queue."),
    "bundle": ("appliance.cli.bundle:bundle", "Check a bundle without installing it."),
    "signing": ("appliance.cli.signing:signing", "Keys of bundles, and whom to trust."),
    "systemd": ("appliance.cli.systemd:systemd", "Show the systemd units."),
    "engine": ("appliance.cli.engine:engine", "Start one engine (used by the units)."),
    "user": ("appliance.cli.user:user", "People who may sign in."),
    "org": ("appliance.cli.org:org", "Organisations and who belongs to them."),
    "project": ("appliance.cli.project:project", "Projects that receive events."),
    "key": ("appliance.cli.key:key", "API keys of a project."),
    "geo": ("appliance.cli.geo:geo", "Where addresses are."),
    "mail": ("appliance.cli.mail:mail", "Try the mail provider, look at the letters."),
    "email": ("appliance.cli.mail:mail", "The same as `mail`."),
    "doctor": ("appliance.cli.doctor:doctor", "Find what is wrong, with cause and remedy."),
    "support-bundle": (
        "appliance.cli.support:support_bundle",
        "Pack logs and state for whoever helps.",
    ),
    "tls": ("appliance.cli.tls:tls", "The certificate of the public port."),
    "backup": ("appliance.cli.backup:backup", "Backups: create, verify, restore."),
    "template": ("appliance.cli.template:template", "Configuration for neighbouring programs."),
    "upgrade": ("appliance.cli.upgrade:upgrade", "Upgrade to the release in a bundle."),
    "rollback": ("appliance.cli.upgrade:rollback", "Go back to the release before."),
    "releases": ("appliance.cli.releases:releases", "Show the installed releases."),
    "premises": ("appliance.cli.releases:premises", "Make what a release needs (by `upgrade`)."),
    "recover": ("appliance.cli.recover:recover", "End an interrupted operation."),
    "jobs": ("appliance.cli.jobs:jobs", "What the scheduler does, and how it went."),
    "audit": ("appliance.cli.audit:audit", "Who did what, when, from where."),
    "report": ("appliance.cli.report:report", "Who gets the weekly report of a project."),
    "schema": ("appliance.cli.schema:schema", "Show what this release makes of the stores."),
    "dlq": ("appliance.cli.dlq:dlq", "Messages that could not be stored."),
    "person": ("appliance.cli.person:person", "What is stored about a person; erasure."),
    "import": ("appliance.cli.importing:importing", "Bring in events of other systems."),
    "export": ("appliance.cli.exporting:exporting", "Write events into a file."),
    "query": ("appliance.cli.query:query", "Ask SQL about the rows of one project."),
    "cohort": ("appliance.cli.cohort:cohort", "Saved groups of people."),
    "live": ("appliance.cli.live:live", "Print events as they arrive."),
    "seed": ("appliance.cli.seed:seed", "Send invented events through the HTTP API."),
    "version": ("appliance.cli.version:version", "Show the versions of everything."),
    "completion": ("appliance.cli.completion:completion", "Print the shell completion script."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module_name), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            raise click.UsageError(
                f"there is no command {args[0]!r}"
                + (f"; did you mean {close[0]!r}?" if close else ""),
                ctx=ctx,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command takes --debug (a traceback instead of one line) and has --help.",
)
def cli() -> None:
    """Self-hosted product analytics in one directory, for networks without internet."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = _DEBUG_FLAG in arguments
    if debug:
        arguments.remove(_DEBUG_FLAG)
    sys.exit(_run(arguments, debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        result: object = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except Exception as error:  # noqa: BLE001 the one door where every failure becomes a status
        if debug:
            traceback.print_exc()
        return _report(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _report(error: Exception, *, as_json: bool) -> int:
    match error:
        case ApplianceError():
            _say(error.reason, error.message, error.hint, as_json=as_json)
            return error.exit_status
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort():
            return _EXIT_INTERRUPTED
        case click.ClickException():
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f"see `{context.command_path} --help`" if context else ""
            _say("USAGE", error.format_message(), hint, as_json=as_json)
            return _EXIT_USAGE
        case BrokenPipeError():
            # Whoever read our output went away; that is no failure, and nothing can be said.
            sys.stderr.close()
            return 0
        case _:
            text = f"{type(error).__name__}: {error}"
            hint = "this is a bug; run again with --debug and report it"
            _say("BUG", text, hint, as_json=as_json)
            return EXIT_BUG


def _say(reason: str, message: str, hint: str, *, as_json: bool) -> None:
    if as_json:
        body = msgspec.json.encode({"error": {"reason": reason, "message": message, "hint": hint}})
        print(body.decode(), file=sys.stderr)
        return
    print(f"{PROGRAM}: {message}" + (f"; {hint}" if hint else ""), file=sys.stderr)
