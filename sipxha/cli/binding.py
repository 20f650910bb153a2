"""
C{sipxha register} and C{unregister}: contacts that no phone registered.

The running node does it, and tells its peers; what is left bound is shown.
"""

from __future__ import annotations

from pathlib import Path

import click

from sipxha.cli.completion import complete_user
from sipxha.cli.output import config_option, json_option, read_config
from sipxha.cli.status import show_registrations, tell


@click.command()
@click.argument("user", shell_complete=complete_user)
@click.argument("contact")
@config_option
@json_option
def register(user: str, contact: str, config: Path, as_json: bool) -> None:
    """
    Bind CONTACT, a SIP URI, to USER: as a REGISTER would, on all nodes.

    It holds for max-expires of the configuration.  For less, and for a
    preference: '<sip:gw@10.1.1.9>;expires=600;q=0.5'.
    """
    tell(read_config(config).node, "/register", {"user": user, "contact": contact})
    show_registrations(user, config, as_json)


@click.command()
@click.argument("user", shell_complete=complete_user)
@click.argument("contact")
@config_option
@json_option
def unregister(user: str, contact: str, config: Path, as_json: bool) -> None:
    """
    End CONTACT of USER, whoever registered it; '*' ends all.
    """
    tell(read_config(config).node, "/unregister", {"user": user, "contact": contact})
    show_registrations(user, config, as_json)
