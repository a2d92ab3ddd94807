"""`completion`: the script that makes a shell complete our commands."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL; load it from the shell's start file.

    For bash: pug-appliance completion bash > /etc/bash_completion.d/pug-appliance
    """
    root = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    print(kind(root.command, {}, "pug-appliance", "_PUG_APPLIANCE_COMPLETE").source())
