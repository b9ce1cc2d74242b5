"""``greencv import``: make a table of measurements from files of other programs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greencv_core.cli import console
from greencv_core.utils.text import count

if TYPE_CHECKING:
    import pandas as pd

import_app = typer.Typer(
    help="Make a table of measurements from files of other programs.", no_args_is_help=True
)


class Part(StrEnum):
    """Components whose energy counts."""

    all = "all"
    gpu = "gpu"
    cpu = "cpu"
    ram = "ram"


_BRACES = "{column} becomes that column's text, {file} the file's name."
Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Files to read.")]
Architecture = Annotated[
    str, typer.Option("--architecture", help=f"Name of the image classifier. {_BRACES}")
]
Environment = Annotated[
    str,
    typer.Option("--environment", help="Hardware and how it was used. Braces as above."),
]
Source = Annotated[str, typer.Option("--source", help="Name of who measured. Braces as above.")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="Data set that was trained on.")]
Framework = Annotated[str | None, typer.Option("--framework", help="Such as PyTorch.")]
Hardware = Annotated[
    str | None,
    typer.Option(
        "--hardware", help="Metered hardware, such as '2x V100', if the file does not say it."
    ),
]
Session = Annotated[str | None, typer.Option("--session", help="Session of the runs.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Images in a batch.")]
PowerLimit = Annotated[
    float | None, typer.Option("--power-limit-w", help="Power limit of one device (W).")
]
Images = Annotated[
    int | None,
    typer.Option("--images", help="Images of a run: training and validation, over all epochs."),
]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Epochs of a run.")]
IdlePower = Annotated[
    float | None, typer.Option("--idle-power-w", help="Power of the idle hardware (W).")
]
Gflops = Annotated[
    float | None,
    typer.Option("--gflops", help="GFLOPs of a forward pass of one image: 2 x multiply-adds."),
]
Parameters = Annotated[int | None, typer.Option("--parameters", help="Parameters of the model.")]
Correctness = Annotated[
    float | None, typer.Option("--correctness", help="Correctness of the trained model (0 to 1).")
]
CorrectnessName = Annotated[
    str | None, typer.Option("--correctness-name", help="Such as accuracy, or macro F1.")
]
PathPattern = Annotated[
    str | None,
    typer.Option(
        "--path-pattern",
        help="How paths end, such as 'logs/{model}-{n}.csv': {model} may then be used above.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="CSV to write. Default: standard output.")
]


def codecarbon(
    files: Files,
    architecture: Architecture,
    environment: Environment,
    source: Source = "own",
    dataset: Dataset = None,
    framework: Framework = None,
    hardware: Hardware = None,
    session: Session = None,
    batch_size: BatchSize = None,
    power_limit_w: PowerLimit = None,
    images: Images = None,
    epochs: Epochs = None,
    idle_power_w: IdlePower = None,
    gflops: Gflops = None,
    parameters: Parameters = None,
    correctness: Correctness = None,
    correctness_name: CorrectnessName = None,
    path_pattern: PathPattern = None,
    output: Output = None,
    part: Annotated[
        Part, typer.Option("--of", help="Energy of all components, or of one.")
    ] = Part.all,
) -> None:
    """Read emissions.csv files of CodeCarbon, versions 1 to 3: a row for each run.

    Energies in kWh become joules, without the data centre's PUE. CodeCarbon does not say how it
    knows an energy, so it is estimated; only --of gpu is measured, by the counter of an NVIDIA GPU.
    The options state what the files lack, the same for all runs; other values go into the table by
    hand.
    """
    from greencv_core.published.imports.codecarbon import import_codecarbon
    from greencv_core.published.imports.facts import Facts

    facts = Facts(
        architecture,
        environment,
        source,
        dataset=dataset,
        framework=framework,
        hardware=hardware,
        session=session,
        batch_size=batch_size,
        power_limit_w=power_limit_w,
        images_processed=images,
        epochs=epochs,
        idle_power_w=idle_power_w,
        gflops_per_image=gflops,
        parameters=parameters,
        correctness=correctness,
        correctness_name=correctness_name,
        path_pattern=path_pattern,
    )
    _write(*import_codecarbon(files, facts, part.value), output)


def nvidia_smi(
    files: Files,
    architecture: Architecture,
    environment: Environment,
    source: Source = "own",
    dataset: Dataset = None,
    framework: Framework = None,
    hardware: Hardware = None,
    session: Session = None,
    batch_size: BatchSize = None,
    power_limit_w: PowerLimit = None,
    images: Images = None,
    epochs: Epochs = None,
    idle_power_w: IdlePower = None,
    gflops: Gflops = None,
    parameters: Parameters = None,
    correctness: Correctness = None,
    correctness_name: CorrectnessName = None,
    path_pattern: PathPattern = None,
    output: Output = None,
    sum_gpus: Annotated[
        bool, typer.Option("--sum-gpus", help="One row for all GPUs of a log, not a row each.")
    ] = False,
) -> None:
    """Read logs of nvidia-smi, one for each training: a row for each GPU.

    Power is integrated from the first reading to the last. The columns timestamp and power.draw are
    needed, index and name identify GPUs; {gpu} and {device_name} may be used in names. What could
    be summed wrongly is refused, with file and line.
    """
    from greencv_core.published.imports.facts import Facts
    from greencv_core.published.imports.nvidia_smi import import_nvidia_smi

    facts = Facts(
        architecture,
        environment,
        source,
        dataset=dataset,
        framework=framework,
        hardware=hardware,
        session=session,
        batch_size=batch_size,
        power_limit_w=power_limit_w,
        images_processed=images,
        epochs=epochs,
        idle_power_w=idle_power_w,
        gflops_per_image=gflops,
        parameters=parameters,
        correctness=correctness,
        correctness_name=correctness_name,
        path_pattern=path_pattern,
    )
    _write(*import_nvidia_smi(files, facts, sum_gpus=sum_gpus), output)


def _write(table: pd.DataFrame, notes: list[str], output: Path | None) -> None:
    from greencv_core.published.table_reading import table_csv

    for note in notes:
        console.warn("note", note)
    text = table_csv(table)
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    console.write_file(output, text.encode())
    console.print_text(f"{output}: {count(len(table), 'run')}")


import_app.command(
    epilog="Example: greencv import codecarbon emissions.csv --architecture '{project_name}' "
    "--environment '{gpu_model}' --images 600000 -o runs.csv"
)(codecarbon)
import_app.command(
    name="nvidia-smi",
    epilog="Example: greencv import nvidia-smi logs/*.csv --path-pattern '{model}-{n}.csv' "
    "--architecture '{model}' --environment 'RTX 3070' --images 600000 -o runs.csv",
)(nvidia_smi)
