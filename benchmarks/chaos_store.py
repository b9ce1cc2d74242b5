"""A store while it is written to, and what is in it in the end."""

import contextlib
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos_processes import run_id_in
from greencv_core.records.backends.base import WRITING
from greencv_core.records.record import RunRecord
from greencv_core.records.store import DAMAGED, Damaged, Store
from greencv_core.records.tables import table_row

SAME = (
    "run_id", "study", "architecture", "environment", "repetition", "order", "seed", "status",
    "device", "device_name", "threads", "precision", "memory_format", "compile", "workers",
    "dataset", "image_size", "batch_size", "gflops_per_image", "parameters", "epochs", "ended_by",
    "images_processed", "provenance", "accuracy", "precision_macro", "recall_macro", "f1_macro",
    "auroc_macro", "train_loss", "validation_loss", "complete", "machine", "host", "torch_version",
)  # fmt: skip
"""Columns of the runs table that depend on no time and no energy."""
SCAN_EVERY_S = 0.01  # at the store


class StoreWatcher:
    """Follows a store while it is written: new records, and replaced ones.

    The time of a folder shows when a file in it came or was replaced.
    """

    def __init__(self, store):
        self.store = store
        self.stamps, self.seen = {}, {}
        self.finished_s, self.changed_s = [], time.monotonic()
        self.replaced, self.failed, self.torn = set(), 0, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        last_ns = None
        while not self.ended.wait(SCAN_EVERY_S):
            with contextlib.suppress(FileNotFoundError):  # not there yet
                now_ns = self.store.stat().st_mtime_ns
                # The clocks of file systems are coarse: a second change may have the same time.
                if now_ns != last_ns or time.time_ns() - now_ns < 100_000_000:
                    self.scan()
                last_ns = now_ns
        self.scan()

    def scan(self):
        with contextlib.suppress(FileNotFoundError), os.scandir(self.store) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    with contextlib.suppress(FileNotFoundError):  # moved aside just now
                        self.read(entry)

    def read(self, entry):
        status = os.stat(entry.path)
        stamp = status.st_ino, status.st_mtime_ns, status.st_size
        if self.stamps.get(entry.name) == stamp:
            return
        written = Path(entry.path).read_bytes()
        self.stamps[entry.name], self.changed_s = stamp, time.monotonic()
        try:
            state = json.loads(written)["status"]
        except (ValueError, LookupError):
            self.torn += 1
            return
        earlier = self.seen.get(entry.name)
        self.seen[entry.name] = state, written
        if earlier == (state, written):
            return
        if earlier is not None and earlier[0] == "finished":
            self.replaced.add(entry.name.removesuffix(".json"))
        elif state == "finished":
            self.finished_s.append(self.changed_s)
        self.failed += state == "failed"

    def finished(self):
        return len(self.finished_s)

    def end(self):
        self.ended.set()
        self.thread.join()


class StoreContents:
    """What is in the store of an execution that is over."""

    def __init__(self, execution):
        parsed = list(Store(execution.store).records())
        records = [entry for entry in parsed if isinstance(entry, RunRecord)]
        self.rows = {record.run_id: table_row(record) for record in records}
        self.missing = [run for run in execution.runs if run not in self.rows]
        self.unplanned = sorted(set(self.rows) - set(execution.runs))
        self.failed = [record.run_id for record in records if record.status != "finished"]
        aside = sorted((execution.store / DAMAGED).glob("*"))
        self.damaged = [
            *(f"{entry.where}: {entry.reason}" for entry in parsed if isinstance(entry, Damaged)),
            *(f"{path}: was set aside" for path in aside),
        ]
        everything = [path for path in execution.store.rglob("*") if path.is_file()]
        self.temporary = {
            path.name: path.stat().st_size for path in everything if path.name.startswith(WRITING)
        }
        places = Counter(
            run_id_in(path) for path in everything if not path.name.startswith(WRITING)
        )
        twice = {run for run, times in places.items() if run is not None and times > 1}
        self.duplicates = sorted(twice | execution.watch.replaced)

    def same(self, run):
        """Return what is to be the same however a run was made; None where there is none."""
        row = self.rows.get(run)
        if row is None:
            return None
        # Not a number is not equal to itself.
        return {column: None if row[column] != row[column] else row[column] for column in SAME}

    def reasons(self):
        return [
            *(f"missing: {run}" for run in self.missing),
            *(f"not planned: {run}" for run in self.unplanned),
            *(f"made again though finished, or in two places: {run}" for run in self.duplicates),
            *(f"damaged: {where}" for where in self.damaged),
            *(f"failed: {run}: {self.rows[run]['problems']}" for run in self.failed),
        ]


def difference(found, reference, run):
    one, other = found.same(run), reference.same(run)
    if one is None or other is None:
        return "is in one of the two stores alone"
    columns = [column for column in SAME if one[column] != other[column]]
    return "; ".join(f"{column} {one[column]}, undisturbed {other[column]}" for column in columns)
