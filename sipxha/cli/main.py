"""
The C{sipxha} command: which verbs there are.

A verb's module is imported only when the verb is used, so that the command
starts quickly and the help needs none of them.  No verb lives here.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click
from click.shell_completion import CompletionItem

VERBS = {
    "init": ("sipxha.cli.init:init", "Make the folders of a new cluster."),
    "node": ("sipxha.cli.node:node", "Add nodes to a cluster, and remove them."),
    "check": ("sipxha.cli.check:check", "Check all that a start would need."),
    "dns": ("sipxha.cli.dns:dns", "Print the zone fragment of the domain."),
    "cert": ("sipxha.cli.cert:cert", "Make, sign and show certificates."),
    "user": ("sipxha.cli.user:user", "Add, change and list users."),
    "db": ("sipxha.cli.db:db", "Prepare and check the databases."),
    "status": ("sipxha.cli.status:status", "Show how the running node is."),
    "peers": ("sipxha.cli.status:peers", "Show the registrars that the running node replicates with."),
    "registrations": ("sipxha.cli.status:registrations", "Show who is registered, and where."),
    "calls": ("sipxha.cli.calls:calls", "Show the calls that ring or are talked in, on all nodes."),
    "register": ("sipxha.cli.binding:register", "Bind a contact to a user."),
    "unregister": ("sipxha.cli.binding:unregister", "End a contact of a user."),
    "reload": ("sipxha.cli.life:reload", "Have the running node read its files again."),
    "drain": ("sipxha.cli.life:drain", "End the running node without cutting anything off."),
    "import-sipx": ("sipxha.cli.import_sipx:import_sipx", "Take over what a sipXpbx server knew."),
    "resolve": ("sipxha.cli.resolve:resolve", "Make call detail records of the nodes' call events."),
    "cdr": ("sipxha.cli.cdr:cdr", "List and export call detail records."),
    "completion": ("sipxha.cli.completion:completion", "Print what a shell needs to complete words."),
}
"""Where each verb lives, and its line in the help."""


class LazyGroup(click.Group):
    """
    A group of commands that are imported when they are asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """
        All verbs, in the order in which an operator meets them.
        """
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """
        Find the verb, or name those that are like it.
        """
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            like = [verb for verb in VERBS if verb.startswith(name)] or get_close_matches(name, VERBS)
            hint = f" Did you mean {' or '.join(like)}?" if like else ""
            raise click.UsageError(f"There is no verb {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """
        The verbs that begin so, without importing any.
        """
        verbs = [
            CompletionItem(verb, help=line)
            for verb, (_, line) in VERBS.items()
            if verb.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """
        Import the verb.
        """
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        Write the list of verbs without importing any.
        """
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sipxha", prog_name="sipxha")
def main() -> None:
    """
    Operate a sipxha node: a small PBX core that keeps basic calling alive
    when a server dies.

    The node itself is started with: twistd sipxha --config etc/sipxha.xml
    """
