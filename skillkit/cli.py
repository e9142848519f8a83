"""The command line: the commands of `skillkit.commands`, by name."""

from __future__ import annotations

import click

from skillkit import __version__, console
from skillkit.commands import (
    composing,
    exporting,
    filming,
    importing,
    listing,
    looking,
    playing,
    relating,
    reporting,
    sharing,
    training,
    transferring,
    upkeep,
)

COMMANDS = (
    training.train,
    training.stack,
    composing.compose,
    looking.tasks,
    listing.list_,
    looking.show,
    playing.evaluate,
    playing.plot,
    filming.play,
    exporting.export,
    importing.import_,
    relating.diff,
    relating.lineage,
    reporting.report,
    sharing.pack,
    sharing.unpack,
    transferring.push,
    transferring.pull,
    upkeep.alias,
    upkeep.tag,
    upkeep.rename,
    upkeep.copy,
    upkeep.rm,
    upkeep.verify,
    upkeep.gc,
)


@click.group(cls=console.Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="skillkit %(version)s")
def main() -> None:
    """Teach robots skills, and compose them: every command makes a skill, and takes skills.

    \b
    skillkit train push_x
    skillkit train push_y
    skillkit compose push_x push_y
    """


for command in COMMANDS:
    main.add_command(command)
