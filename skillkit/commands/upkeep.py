"""What keeps a registry in order: words for versions, other names, removal, checks."""

from __future__ import annotations

from contextlib import suppress

import click

from skillkit import console
from skillkit.commands.options import AMOUNT, open_registry, registry_option
from skillkit.errors import CorruptSkill, InvalidValue, SkillkitError


@click.command()
@click.argument("skill")
@click.argument("word")
@click.option("--remove", is_flag=True, help="Take WORD away instead; the skill stays.")
@registry_option
def alias(skill: str, word: str, remove: bool, registry: str | None) -> None:
    """Let NAME@WORD mean this version of SKILL from now on."""
    where = open_registry(registry)
    if remove:
        name = skill.partition("@")[0]
        where.unalias(name, word)
        click.echo(f"{name}@{word} means nothing any more")
        return
    entry = where.alias(skill, word)
    click.echo(f"{entry.name}@{word} is version {entry.version}")


@click.command()
@click.argument("skill")
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--note", help='One line about this version; --note "" takes it away.')
@registry_option
def tag(skill: str, pairs: tuple[str, ...], note: str | None, registry: str | None) -> None:
    """Say something about a version of SKILL: tags and a note, which `list` and `show` tell.

    KEY= takes a tag away. They lie beside the skill: its files and its content id stay as they are.
    Without KEY=VALUE and --note, says what there is.
    """
    where = open_registry(registry)
    tags = dict(_pair(pair) for pair in pairs)
    entry = where.find(skill)
    if tags or note is not None:
        labels = where.label(entry.reference, tags, note)
    else:
        labels = where.labels(entry)
    told = [console.tags(labels.tags)] + [f"note: {labels.note}"] * bool(labels.note)
    click.echo(f"{entry.reference}: {'; '.join(filter(None, told)) or 'no tags, no note'}")


@click.command()
@click.argument("skill")
@click.argument("name")
@registry_option
def rename(skill: str, name: str, registry: str | None) -> None:
    """Call SKILL, all its versions, NAME from now on; aliases, tags and notes go along.

    Its files stay as they are, so what was composed of it or stacked on it still finds it. The
    numbers of the old name are not used again.
    """
    if "@" in skill:
        raise InvalidValue(
            f"rename takes a skill with all its versions, not {skill}; "
            f"skillkit copy {skill} {name} gives one version another name"
        )
    where = open_registry(registry)
    entries = where.rename(skill, name)
    click.echo(f"{skill} is {name} now, {_count(len(entries), 'version')}")
    with suppress(SkillkitError):  # as a rule there is no other
        other = where.find(skill)
        click.echo(f"{skill} means {other.reference} in {other.folder.parent.parent} from now on")


@click.command()
@click.argument("skill")
@click.argument("name")
@registry_option
def copy(skill: str, name: str, registry: str | None) -> None:
    """Save a version of SKILL, with its tags and note, as the next version of NAME.

    The files are the same to the byte. NAME may be its own: copy push_x@1 push_x makes the first
    version the latest.
    """
    where = open_registry(registry)
    entry = where.find(skill)
    copied = where.copy(entry.reference, name)
    click.echo(f"copied {entry.reference} to {copied.reference}")


@click.command()
@click.argument("skill")
@registry_option
def rm(skill: str, registry: str | None) -> None:
    """Remove one version, NAME@3, or the latest of NAME; its number is never used again."""
    where = open_registry(registry)
    identity = ""
    with suppress(SkillkitError):  # a damaged skill has no content id, and can still be removed
        found = where.find(skill)
        if "@" not in skill:  # the latest one is soon another
            skill = found.reference
        identity = found.content_id
    children = [child.reference for child in where.children(identity)]
    entry = where.remove(skill)
    click.echo(f"removed {entry.name}, version {entry.version}")
    if twin := where.holder(identity):
        click.echo(f"the same files are still there as {twin.reference}")
    elif children:
        click.echo(f"it was a parent of {', '.join(children)}, which still work without it")


@click.command()
@click.argument("skills", nargs=-1)
@registry_option
def verify(skills: tuple[str, ...], registry: str | None) -> None:
    """Check every file of SKILLS, or of all, against its checksum; and aliases, tags and notes."""
    where = open_registry(registry)
    where.list()  # a registry that is not there has no damage to report
    entries = [where.find(skill) for skill in skills] or list(where.entries())
    damaged = []
    for entry in entries:
        for sentence in where.damage(entry):
            click.echo(f"{entry.reference}: {sentence}")
            damaged.append(entry.reference)
    strays = [line for name in sorted({e.name for e in entries}) for line in where.stray(name)]
    for line in strays:
        click.echo(line)
    if damaged:
        shown = ", ".join(dict.fromkeys(damaged))
        raise CorruptSkill(f"of {len(entries)} versions these are damaged: {shown}")
    if strays:
        what = _count(len(strays), "alias or label is", "aliases and labels are")
        raise CorruptSkill(f"the versions are as they were saved, but {what} of no use")
    one = len(entries) == 1
    click.echo(
        "1 version is as it was saved" if one else f"{len(entries)} versions are as they were saved"
    )


@click.command()
@click.option("--days", type=AMOUNT, default=30.0, show_default=True, help="Of no change in a run.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and leave it.")
@registry_option
def gc(days: float, dry_run: bool, registry: str | None) -> None:
    """Sweep away what nobody needs any more; no skill and no number goes.

    What killed processes left half-written, the files of versions removed by half, films of skills
    that are gone, and interrupted trainings in which nothing changed for --days, which --resume
    could still continue. What a living process works on stays.
    """
    where = open_registry(registry)
    where.list()  # a registry that is not there is not made for it
    found = where.leftovers(days) if dry_run else where.sweep(days)
    if not found:
        click.echo("there is nothing to sweep")
        return
    table = console.table("what", "where", "unchanged for", "size")
    for leftover in found:
        path = str(leftover.path.relative_to(where.folders[0]))
        table.add_row(leftover.what, path, f"{leftover.age:.1f} days", console.size(leftover.size))
    console.show(table)
    total = console.size(sum(leftover.size for leftover in found))
    click.echo(f"{total} can be swept away" if dry_run else f"{total} are free again")


def _pair(text: str) -> tuple[str, str]:
    tag, equals, value = text.partition("=")
    if not equals:
        raise InvalidValue(f"a tag is KEY=VALUE, or KEY= to take it away, not {text!r}")
    return tag, value


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
