"""export: the command that hands a skill to other programs."""

from __future__ import annotations

from pathlib import Path

import click

from skillkit import console
from skillkit.commands.options import open_skill, registry_option


@click.command()
@click.argument("skill")
@click.option(
    "--format", "form", default="onnx", show_default=True, help="onnx: the policy; minari: replay."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="What to write; default: SKILL.FORMAT."
)
@click.option("--sample", is_flag=True, help="onnx: noise as an input instead of the mode.")
@registry_option
def export(skill: str, form: str, output: Path | None, sample: bool, registry: str | None) -> None:
    """Write the policy of SKILL, or its replay, for another program.

    onnx: one file that runs without skillkit. It maps observations, (B, O), to actions in native
    units within their bounds, (B, A), and holds names, units, bounds and the control period in its
    metadata. With --sample it takes noise drawn from N(0, I) too; a stack whose layers hold their
    latents takes and gives back a memory, zeros where an episode begins.

    minari: a folder, a Minari dataset in HDF5 with every stored transition. Actions are in
    [-1, 1], as they are stored, whatever their native units.
    """
    from skillkit.exporters import exporter

    write = exporter(form)
    found = open_skill(skill, registry)
    path = output or Path(f"{skill.replace('/', '--')}.{form}")
    path.parent.mkdir(parents=True, exist_ok=True)
    click.echo(write(found, path, sample))
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    click.echo(f"{path}: {console.size(sum(file.stat().st_size for file in files))}")
