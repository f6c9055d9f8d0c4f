"""`ncam persistence`: whether grown pictures stay as they are, and whether they heal."""

from typing import Annotated

import typer

from ncamlib.cli.evaluate import shipped
from ncamlib.cli.options import Backend, DataDir, Device, SkipBroken, choose_backend
from ncamlib.machine import pick_device
from ncamlib.results import persistence as measures


def persistence(
    targets: Annotated[list[str], typer.Argument(metavar="EXPERIMENT|FILE...")],
    record: Annotated[bool, typer.Option("--record", help="Record them in figures/persistence.json.")] = False,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Measure trained models over time: the error at 1 to 20 T, and after damage."""
    torch_device = pick_device(device)
    choose_backend(backend, torch_device)
    for target in targets:
        model, images, header = shipped(target, torch_device, data_dir, record, skip_broken)
        for codes in measures.codes_of(model, len(images)):
            row = measures.measure_persistence(model, images, header, codes)
            if record:
                measures.record(row)
            typer.echo(f"{row.experiment}, {codes} codes")
            for times, mse in row.errors:
                typer.echo(f"  {f'{times} T':>9}  MSE {mse:.5f}")
            for damage in row.healing:
                known = "" if damage.mse is None else f"MSE {damage.mse:.5f}, {damage.healed:.0%} healed, "
                typer.echo(f"  {damage.kind:>9}  {known}difference {damage.difference:.5f}")
