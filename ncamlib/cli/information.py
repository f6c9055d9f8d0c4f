"""`ncam information`: what the codes of trained models hold, and what happens when they are changed."""

from typing import Annotated

import typer

from ncamlib.cli.evaluate import shipped
from ncamlib.cli.options import Backend, DataDir, Device, SkipBroken, choose_backend
from ncamlib.machine import pick_device
from ncamlib.results import information as measures


def information(
    targets: Annotated[list[str], typer.Argument(metavar="EXPERIMENT|FILE...")],
    record: Annotated[bool, typer.Option("--record", help="Record it in figures/information.json.")] = False,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Measure codes: entropy, words per gene, and the errors of changed codes."""
    torch_device = pick_device(device)
    choose_backend(backend, torch_device)
    for target in targets:
        row = measures.measure_information(*shipped(target, torch_device, data_dir, record, skip_broken))
        if record:
            measures.record(row)
        typer.echo(f"{row.experiment}, {row.images} images")
        for treatment, mse in row.errors:
            typer.echo(f"  {treatment:>22}  MSE {mse:.5f}")
        typer.echo(f"  {'noise':>22}  {row.noise:.3f} of a decoded value, with half of the letters replaced")
        if row.words is not None:
            typer.echo(f"  {'words':>22}  {row.words}, the two most frequent {row.two_words:.0%} of all genes")
            typer.echo(f"  {'entropy':>22}  {row.entropy:.2f} bits per gene")
            typer.echo(f"  {'read right':>22}  {row.read:.1%} of genes, with half of the letters replaced")
