"""
C{sipxha completion}: what a shell needs to complete the command's words.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """
    Print a script by which SHELL completes verbs, options and users.

    \b
    bash:  sipxha completion bash > /etc/bash_completion.d/sipxha
    zsh:   sipxha completion zsh > "${fpath[1]}/_sipxha"
    fish:  sipxha completion fish > ~/.config/fish/completions/sipxha.fish
    """
    from sipxha.cli.main import main

    found = get_completion_class(shell)
    assert found is not None
    made = found(main, {}, "sipxha", "_SIPXHA_COMPLETE")
    # source() would run the shell to see how old it is.
    click.echo(made.source_template % made.source_vars())


def complete_user(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """
    The users of the domain whose names begin so; none where they cannot be read.
    """
    from sipxha.cli.output import VARIABLE, default_config
    from sipxha.config.load import ConfigurationRefused, load
    from sipxha.config.users import UsersRefused, load_users

    path = ctx.params.get("config") or os.environ.get(VARIABLE) or default_config()
    try:
        settings = load(Path(path))
        users = load_users(settings.users, settings.domain.name, settings.domain.realm)
    except (ConfigurationRefused, UsersRefused):
        return []
    names = (identity.removesuffix(f"@{settings.domain.name}") for identity in users.identities())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
