"""Runs of del Rey et al. (SEAA 2023), recomputed from their raw logs.

The processor's logs are parsed in another thread, many at once by Arrow, which leaves the
interpreter to the GPU's.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from greencv_core.published.seaa2023.digits import keep_freed_memory
from greencv_core.published.seaa2023.nvidia_smi import Log, read_log
from greencv_core.published.seaa2023.processor import ProcessorLog, read_processor_logs
from greencv_core.published.seaa2023.runs import (
    CARBON_INTENSITY_GCO2E_PER_KWH,
    FOLDERS,
    IMAGES_PER_EPOCH,
    KEY,
    METRICS,
    RELEASE,
    complete_columns,
    read_metrics,
)
from greencv_core.published.seaa2023.segmentation import estimate_period, find_step
from greencv_core.utils.answers import remembered
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.intact import files_digest
from greencv_core.utils.text import count

TRIMMED_LINES = 3
"""Lines that the original leaves out at each end of a log: its sampler ran 3 s longer."""
BATCH_LOGS = 40
"""Processor's logs that are parsed together: long enough calls, little memory."""
FIRST_LOGS = 4
"""The same of the first batch, for which the GPU's logs wait."""
JOINED_WITHIN_S = 1.0
"""Largest distance between matching lines of the processor's and the GPU's log."""
AT_WORK_PCT = 10.0
"""Utilization above which a GPU trains; a desktop mostly stays below."""
QUIET_PCT = 3.0
"""Utilization below which not even validation runs."""
SHARED_FROM = 1.25
"""Multiple of the smallest memory use from which another program uses the rest: the framework
allocates before the log begins, and a desktop varies by a few per cent."""
RAISED_FROM = 0.5
"""Share of the power before work below which a GPU is back in its low-power state."""
ENDS_WITHIN_S = 2.0
"""Largest distance between the ends of both logs of a training; otherwise one lost its end."""
ENDING_S = 60.0
"""Length of the end of a log whose mean power is assumed for the missing time."""
WEAKEST_RHYTHM = 0.3
"""Smallest autocorrelation of a log from which epochs are counted."""
INITIAL_EPOCHS = 10
"""Epochs of the first stage."""
_HEADERS = {"nvidia-smi's own": "nvidia-smi's own header", "renamed": "a renamed header"}
_NAMES = ("environment", "architecture", "device_name", "started_at", "day", "header", "ending")
_NUMBERS = (
    "duration_s", "energy_j", "energy_j_whole_watts", "power_sum_w_whole_watts", "power_w",
    "device_utilization_pct", "temperature_c", "low_power_w", "before_power_w", "after_power_w",
    "memory_total_mib", "memory_used_mib", "shared_s", "shared_memory_mib", "fallback_s",
    "fallback_power_w", "log_bytes", "missing_s", "missing_energy_j",
    "ends_apart_s", "cpu_utilization_pct", "process_memory_mb",
)  # fmt: skip
_CORRECTNESS = {
    "accuracy": "accuracy", "f1": "f1-score", "precision": "precision", "recall": "recall",
    "auc": "AUC", "gflops_per_image": "GFLOPs", "batch_size": "batch size",
}  # fmt: skip

Result = TypeVar("Result")


@dataclass(frozen=True)
class RawRuns:
    """Results from the raw logs of each training, and properties of the logs."""

    runs: pd.DataFrame
    """A runs table with exact energy and corrected epochs, and these columns:

    - ``energy_j_whole_watts``, ``power_sum_w_whole_watts``: from power cut to whole watts;
    - ``low_power_w``, ``before_power_w``, ``after_power_w``: power in the first line, in the last
      one before the first batch and in the last one after the training;
    - ``fallback_s``, ``fallback_power_w``: time from the training to the GPU's return to low power,
      and the power then;
    - ``memory_total_mib``, ``memory_used_mib`` (minimum), ``temperature_c``;
    - ``shared_s``, ``shared_memory_mib``: time with another program on the GPU, and the median
      memory use then;
    - ``lost_end``, ``missing_s``, ``missing_energy_j``: whether the GPU's log ends before its
      training, and the missing time (NaN without the processor's log) and energy (estimated);
    - ``cpu_utilization_pct``, ``process_memory_mb``, ``ends_apart_s``: from the processor's log if
      it spans the training, and how much later than the GPU's it ends;
    - ``log_bytes``, ``day``, ``header``, ``ending``.
    """
    problems: tuple[str, ...]
    """A line per unreadable log."""

    def sentence(self) -> str:
        """Say how many logs were read, and which were irregular."""
        if self.runs.empty:
            return "No raw log could be read."
        headers = Counter(self.runs["header"])
        by_header = " and ".join(f"{n} with {_HEADERS[k]}" for k, n in sorted(headers.items()))
        endings = Counter(self.runs["ending"])
        return (
            f"The raw logs of {count(len(self.runs), 'training')} were read ({by_header}). "
            f"The GPU's logs end in half a line in {endings['half a line']} of them and in a line "
            f"without its end in {endings['line without end']}; none of these lines is used."
        )


def raw_runs(files: Mapping[str, Path]) -> RawRuns:
    """Read the available logs.

    Runs without a readable GPU log are left out; the processor's log is optional. Without the file
    of metrics, epochs and correctness are NaN.
    """
    return _raw_runs(dict(files), files_digest(files.values()))


@remembered
def _raw_runs(files: Mapping[str, Path], content: str) -> RawRuns:
    """Read the logs; ``content`` is a digest of the files, by which the result is kept."""
    read = _read_pairs(list(log_pairs(files)))
    problems = tuple(problem for _, some in read for problem in some)
    rows = [row for row, _ in read if row is not None]
    runs = pd.DataFrame(rows, columns=[*_NAMES, "repetition", "lost_end", *_NUMBERS]).astype(
        {"repetition": int, "lost_end": bool, **dict.fromkeys(_NUMBERS, float)}
    )
    runs["emissions_gco2e"] = runs["energy_j"] / J_PER_KWH * CARBON_INTENSITY_GCO2E_PER_KWH
    if METRICS not in files or runs.empty:
        return RawRuns(complete_columns(runs.assign(images_processed=np.nan)), problems)
    keys = pd.MultiIndex.from_frame(runs[list(KEY)])
    metrics = read_metrics(files[METRICS], list(_CORRECTNESS.values())).loc[keys]
    runs["epochs"] = metrics["epochs_true"].to_numpy()
    runs["images_processed"] = IMAGES_PER_EPOCH * runs["epochs"]
    for column, theirs in _CORRECTNESS.items():
        runs[column] = metrics[theirs].to_numpy()
    return RawRuns(complete_columns(runs), problems)


def epochs_from_logs(files: Mapping[str, Path], raw: RawRuns) -> pd.DataFrame:
    """Count the epochs of the second stage from each log alone.

    The second stage begins where the utilization steps up. Each of its epochs, training and then
    validation, shows in utilization and power; their number is the stage's time over their period.

    Returns
    -------
    pandas.DataFrame
        run_id, first_stage_s, fine_tuning_s, epoch_s, rhythm (autocorrelation one epoch apart),
        quiet_s (time without work in the second stage), after_s (of it, at the log's end) and
        fine_tuning_epochs, which is NaN if the rhythm is too weak or the end is unknown.
    """
    return _epochs_from_logs(dict(files), raw, files_digest(files.values()))


@remembered
def _epochs_from_logs(files: Mapping[str, Path], raw: RawRuns, content: str) -> pd.DataFrame:
    missing_s = raw.runs.set_index("run_id")["missing_s"]
    readable = [pair for pair in log_pairs(files) if pair.run_id in missing_s]
    columns = [
        "run_id", "first_stage_s", "fine_tuning_s", "epoch_s", "rhythm", "quiet_s", "after_s",
    ]  # fmt: skip
    frame = pd.DataFrame(map_pairs(readable, _second_stage), columns=columns)
    frame["fine_tuning_s"] += frame["run_id"].map(missing_s)
    epochs = frame["fine_tuning_s"] / frame["epoch_s"]
    frame["fine_tuning_epochs"] = epochs.where(frame["rhythm"] >= WEAKEST_RHYTHM)
    return frame


def gpu_log(files: Mapping[str, Path], run_id: str) -> Path | None:
    """Return the path of a run's GPU log, if it is available."""
    return next((pair.gpu for pair in log_pairs(files) if pair.run_id == run_id), None)


@dataclass(frozen=True)
class LogPair:
    """Paths of a run's two logs; None if unavailable."""

    environment: str
    architecture: str
    repetition: int
    gpu: Path | None
    cpu: Path | None

    @property
    def run_id(self) -> str:
        """Run id in the runs table."""
        return f"{RELEASE.name}/{self.environment}/{self.architecture}/{self.repetition}"


def log_pairs(files: Mapping[str, Path]) -> Iterator[LogPair]:
    """Yield each run's logs; repetitions are numbered in the order of time."""
    numbers: Counter[tuple[str, str]] = Counter()
    for path in sorted(RELEASE.hashes):
        parts = PurePosixPath(path)
        if not parts.name.startswith("gpu-power-"):
            continue
        condition = FOLDERS[parts.parts[1]], parts.parts[2]
        cpu = str(parts.with_name(parts.name.replace("gpu-power-", "cpu-mem-usage-")))
        yield LogPair(*condition, numbers[condition], files.get(path), files.get(cpu))
        numbers[condition] += 1


def map_pairs(
    pairs: Iterator[LogPair] | list[LogPair], read: Callable[[LogPair], Result]
) -> list[Result]:
    """Read the logs of each run in parallel; results are in order."""
    keep_freed_memory()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(read, pairs))


def _read_pairs(pairs: list[LogPair]) -> list[tuple[dict[str, Any] | None, list[str]]]:
    keep_freed_memory()
    paths = [pair.cpu for pair in pairs if pair.cpu]
    edges = [0, *range(FIRST_LOGS, len(paths), BATCH_LOGS), len(paths)]
    batches = [paths[start:end] for start, end in pairwise(edges) if start < end]
    with ThreadPoolExecutor(1) as pool:
        of_processors = chain.from_iterable(pool.map(read_processor_logs, batches))
        return [_read_pair(pair, of_processors) for pair in pairs]


def _read_pair(
    pair: LogPair, of_processors: Iterator[ProcessorLog | BadInputError | OSError]
) -> tuple[dict[str, Any] | None, list[str]]:
    of_processor = next(of_processors) if pair.cpu else None
    if pair.gpu is None:
        return None, []  # reported by the download
    problems = []
    try:
        log = read_log(pair.gpu)
        if len(log) <= 2 * TRIMMED_LINES + 1:
            raise BadInputError(f"{pair.gpu}: too short: {len(log)} lines")
    except (BadInputError, OSError) as error:
        return None, [str(error)]
    row = {
        "environment": pair.environment,
        "architecture": pair.architecture,
        "repetition": pair.repetition,
        **_figures(log),
        "log_bytes": pair.gpu.stat().st_size,
    }
    if isinstance(of_processor, ProcessorLog):
        row |= _processor(of_processor, log)
    elif of_processor is not None:
        problems.append(str(of_processor))
    return row, problems


def trimmed(log: Log) -> Log:
    """Return a log without the lines that the original leaves out at each end."""
    # The rest of a cut line counts as one of the last three.
    kept = slice(TRIMMED_LINES, len(log) - TRIMMED_LINES + log.cut_off)
    arrays: dict[str, Any] = {
        name: values[kept] for name, values in vars(log).items() if isinstance(values, np.ndarray)
    }
    return replace(log, **arrays)


def _figures(log: Log) -> dict[str, Any]:
    kept = trimmed(log)
    time_s, power_w, memory_mib = kept.time_s, kept.power_w, kept.memory_used_mib
    whole_w = np.floor(power_w)
    low_w, before_w, after_w = _idle(log)
    shared = memory_mib > SHARED_FROM * memory_mib.min()
    fallback_s, fallback_w = _fallback(log, before_w)
    return {
        "device_name": log.device_name,
        "duration_s": time_s[-1] - time_s[0],
        "energy_j": np.trapezoid(power_w, time_s),
        "energy_j_whole_watts": np.trapezoid(whole_w, time_s),
        "power_sum_w_whole_watts": whole_w.sum(),
        "power_w": power_w.mean(),
        "device_utilization_pct": kept.utilization_pct.mean(),
        "temperature_c": kept.temperature_c.mean(),
        "started_at": str(np.datetime64(int(log.time_s[0]), "s")),
        "day": str(np.datetime64(int(log.time_s[0]), "s").astype("datetime64[D]")),
        "fallback_s": fallback_s,
        "fallback_power_w": fallback_w,
        "memory_total_mib": log.memory_total_mib.max(),
        "memory_used_mib": memory_mib.min(),
        "shared_s": np.diff(time_s)[shared[1:]].sum(),
        "shared_memory_mib": np.median(memory_mib[shared]) if shared.any() else np.nan,
        "low_power_w": low_w,
        "before_power_w": before_w,
        "after_power_w": after_w,
        "header": log.header,
        "ending": log.ending,
        "lost_end": log.cut_off,
        # The processor's log shows how much of a cut log is missing.
        "missing_s": np.nan if log.cut_off else 0.0,
        "missing_energy_j": np.nan if log.cut_off else 0.0,
    }


def _idle(log: Log) -> tuple[float, float, float]:
    """Return power in the first line, just before the first batch, and in the last line.

    NaN if the log begins, or ends, during work.
    """
    at_work = log.utilization_pct > AT_WORK_PCT
    first = int(np.argmax(at_work))
    low_w, before_w = (log.power_w[0], log.power_w[first - 1]) if first else (np.nan, np.nan)
    after_w = np.nan if log.cut_off or at_work[-1] else log.power_w[-1]
    return float(low_w), float(before_w), float(after_w)


def _fallback(log: Log, before_w: float) -> tuple[float, float]:
    """Return the time from the last work to low power, and the power then."""
    last = len(log) - 1 - int(np.argmax(log.utilization_pct[::-1] >= QUIET_PCT))
    low = np.flatnonzero(log.power_w[last:] < RAISED_FROM * before_w)
    if not len(low):
        return np.nan, np.nan
    return float(log.time_s[last + low[0]] - log.time_s[last]), float(log.power_w[-1])


def _processor(cpu: ProcessorLog, log: Log) -> dict[str, Any]:
    """Return the processor's load, and the lost end of the GPU's log, from the processor's log."""
    logged_s = cpu.time_s
    kept = trimmed(log)
    time_s, power_w = kept.time_s, kept.power_w
    apart_s = float(logged_s[-1] - time_s[-1])
    figures: dict[str, Any] = {"ends_apart_s": apart_s}
    if apart_s < -ENDS_WITHIN_S:
        return figures
    after = np.clip(np.searchsorted(logged_s, time_s), 1, len(logged_s) - 1)
    nearest = after - (time_s - logged_s[after - 1] < logged_s[after] - time_s)
    near = nearest[np.abs(logged_s[nearest] - time_s) <= JOINED_WITHIN_S]
    figures["cpu_utilization_pct"] = float(cpu.utilization_pct[near].mean())
    figures["process_memory_mb"] = float(cpu.memory_mb[near].mean())
    if log.cut_off or apart_s > ENDS_WITHIN_S:
        # The sampler was killed with lines still in its buffer. The other log, flushed line by
        # line, ends when the training does.
        figures["lost_end"] = True
        figures["missing_s"] = max(0.0, apart_s)
        last_w = power_w[time_s > time_s[-1] - ENDING_S].mean()
        figures["missing_energy_j"] = figures["missing_s"] * last_w
    return figures


def _second_stage(pair: LogPair) -> tuple[str, float, float, float, float, float, float]:
    assert pair.gpu is not None
    log = trimmed(read_log(pair.gpu))
    time_s, utilization_pct = log.time_s, log.utilization_pct
    first = int(np.argmax(utilization_pct > AT_WORK_PCT))
    begin = first + find_step(utilization_pct[first:])
    epoch_s, rhythm = estimate_period(time_s[begin:], utilization_pct[begin:], log.power_w[begin:])
    quiet = utilization_pct[begin + 1 :] < QUIET_PCT
    last = len(quiet) - int(np.argmax(~quiet[::-1]))
    return (
        pair.run_id, time_s[begin] - time_s[first], time_s[-1] - time_s[begin], epoch_s, rhythm,
        np.diff(time_s[begin:])[quiet].sum(), time_s[-1] - time_s[begin + last],
    )  # fmt: skip
