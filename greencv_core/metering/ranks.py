"""Which of several processes on a computer meters it: the one with local rank 0.

CPU, RAM and GPUs are metered for the whole computer, so that each rank of a parallel training would
count the same energy again. The programs that start such a training give each process its rank on
its computer in a variable of the environment: torchrun
(https://docs.pytorch.org/docs/stable/elastic/run.html), Slurm
(https://slurm.schedmd.com/srun.html), Open MPI
(https://docs.open-mpi.org/en/main/tuning-apps/environment-var.html), MPICH and Intel MPI, and PALS
(https://docs.alcf.anl.gov/polaris/running-jobs/example-job-scripts/).
"""

from __future__ import annotations

import os

LOCAL_RANKS = (
    "LOCAL_RANK",
    "SLURM_LOCALID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "PALS_LOCAL_RANKID",
)


def other_rank() -> str | None:
    """Return the local rank of a process that does not meter its computer: ``LOCAL_RANK=1``.

    None if it does: its local rank is 0, or it is not part of a parallel job. Two programs may
    start it, such as Slurm and torchrun; then it is local rank 0 of both, or does not meter.
    """
    for name in LOCAL_RANKS:
        value = os.environ.get(name, "").strip()
        if value.isdecimal() and int(value) > 0:
            return f"{name}={value}"
    return None


def unmetered_here() -> tuple[str, ...]:
    """Return why this process does not meter its computer, as one line; empty if it does."""
    rank = other_rank()
    if rank is None:
        return ()
    return (
        f"{rank}: local rank 0 of this computer meters it; for a GPU of this rank alone: "
        "EnergyMeter(gpu=UUID), then reading.gpu",
    )
