"""export: the command that hands a skill to other programs."""

from __future__ import annotations

from pathlib import Path

import click

from skillkit import console
from skillkit.commands.options import open_skill, registry_option


@click.command()
@click.argument("skill")
@click.option("--format", "form", default="onnx", show_default=True, help="onnx is the one so far.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write."
)
@click.option("--sample", is_flag=True, help="Take noise as an input instead of taking the mode.")
@registry_option
def export(skill: str, form: str, output: Path | None, sample: bool, registry: str | None) -> None:
    """Write the policy of SKILL as one file that runs without skillkit.

    An ONNX file maps observations, (B, O), to actions in native units within their bounds, (B, A),
    and holds names, units, bounds and the control period in its metadata. With --sample it takes
    noise drawn from N(0, I) too; a stack whose layers hold their latents takes and gives back a
    memory, zeros where an episode begins.
    """
    from skillkit.exporters import exporter

    write = exporter(form)
    data, words = write(open_skill(skill, registry), sample)
    path = output or Path(f"{skill.replace('/', '--')}.{form}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    click.echo(words)
    click.echo(f"{path}: {console.size(len(data))}")
