"""Batches from memory and from worker processes."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import psutil
import pytest
import torch

from greencv_core import datasets
from greencv_core.datasets import loader, registry
from greencv_core.datasets.raw import ArrayPool
from greencv_core.study.schema import Augmentation
from tests.conftest import started
from tests.datasets.helpers import (
    CPU,
    EVERYTHING,
    epoch,
    of_folder,
    picture,
    seeded,
    spec,
    validation,
)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("changes", [Augmentation(), EVERYTHING])
@pytest.mark.parametrize("kind", ["folder", "alike"])
def test_streamed_and_resident_images_are_the_same(request, monkeypatch, workers, changes, kind):
    root = request.getfixturevalue(kind)
    requested = of_folder(root, 14, 8, augmentation=changes)
    resident = datasets.load_dataset(requested)
    with monkeypatch.context() as patched:
        patched.setattr(registry, "available_memory_bytes", lambda: 0.0)
        # Where nothing is remembered of the images in memory.
        patched.setenv("GREENCV_DATASETS", str(root.with_name("others")))
        stream = datasets.load_dataset(requested, workers=workers)
    assert resident.resident
    assert not stream.resident
    assert stream.sha256 == resident.sha256
    before = torch.get_rng_state()
    stream = stream.to(CPU, torch.channels_last)
    one, other = seeded(5), seeded(5)
    try:
        for _ in range(2):
            pairs = zip(resident.train_batches(4, one), stream.train_batches(4, other), strict=True)
            for (images_1, labels_1), (images_2, labels_2) in pairs:
                torch.testing.assert_close(images_1, images_2, atol=1e-5, rtol=0)
                assert torch.equal(labels_1, labels_2)
            torch.testing.assert_close(
                validation(resident, 5)[0], validation(stream, 5)[0], atol=1e-5, rtol=0
            )
            assert torch.equal(validation(resident, 5)[1], validation(stream, 5)[1])
        torch.testing.assert_close(resident.sample(6)[0], stream.sample(6)[0], atol=1e-5, rtol=0)
        assert torch.equal(one.get_state(), other.get_state())
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        stream.close()


def test_native_size_in_bytes_equals_prepared(alike, monkeypatch):
    requested = of_folder(alike, 14, 8)
    prepared = datasets.load_dataset(requested)
    monkeypatch.setattr(loader, "LARGEST_PREPARED", 0)
    stored = datasets.load_dataset(requested)
    assert prepared._train.dtype == torch.float32
    assert stored._train.dtype == torch.uint8
    assert stored._train.shape == (14, 3, 20, 20)
    for one, other in (
        (epoch(prepared), epoch(stored)),
        (validation(prepared), validation(stored)),
    ):
        torch.testing.assert_close(one[0], other[0], atol=1e-6, rtol=0)
        assert torch.equal(one[1], other[1])


def test_large_arrays_are_scaled_down_and_small_ones_on_the_device(monkeypatch):
    pixels = np.stack([np.asarray(picture(seed, 40, 40)) for seed in range(30)])
    pool = ArrayPool(pixels.transpose(0, 3, 1, 2), np.arange(30) % 3, ("a", "b", "c"))
    monkeypatch.setattr(registry, "open_pool", lambda *_, **__: pool)
    requested = spec("cifar10", 18, 9, augmentation=EVERYTHING)
    assert datasets.load_dataset(requested)._train.shape == (18, 3, 32, 32)
    larger = requested.model_copy(update={"image_size": 48})
    data = datasets.load_dataset(larger)
    assert data._train.shape == (18, 3, 40, 40)
    assert data.sample(4)[0].shape == (4, 3, 48, 48)


def test_a_sample_touches_no_generator(folder, streamed):
    before = torch.get_rng_state()
    data = datasets.load_dataset(of_folder(folder, augmentation=EVERYTHING))
    unchanged = datasets.load_dataset(of_folder(folder))
    assert torch.equal(data.sample(4)[0], unchanged.sample(4)[0])
    assert len(data.sample(1000)[0]) == 20
    assert torch.equal(torch.get_rng_state(), before)


def children():
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_closing_leaves_no_process(folder, streamed):
    before = children()
    data = datasets.load_dataset(of_folder(folder), workers=2).to(CPU, torch.contiguous_format)
    half = data.train_batches(4, seeded())
    next(half)
    assert len(children() - before) == 2
    again = validation(data)[0]  # the same processes, though an epoch is not over
    assert len(children() - before) == 2
    data.close()
    assert children() == before
    assert torch.equal(validation(data)[0], again)
    data.close()
    data.close()
    assert children() == before


def test_an_interruption_leaves_no_process(folder, tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(
        textwrap.dedent(f"""
        import torch
        from greencv_core import datasets
        from greencv_core.datasets import registry
        from greencv_core.study.schema import Dataset

        if __name__ == "__main__":
            registry.available_memory_bytes = lambda: 0.0
            spec = Dataset(name="imagefolder:{folder}", train_images=20, validation_images=10)
            data = datasets.load_dataset(spec, workers=2)
            while True:
                for batch in data.train_batches(4, torch.Generator()):
                    print("a batch", flush=True)
        """)
    )
    run = started(sys.executable, script, stdout=subprocess.PIPE)
    assert run.stdout.readline() == "a batch\n"
    workers = psutil.Process(run.pid).children(recursive=True)
    assert len(workers) == 2
    os.killpg(run.pid, signal.SIGINT)
    message = run.communicate(timeout=60)[1]
    assert message.rstrip().endswith("KeyboardInterrupt"), message
    assert message.count("Traceback") == 1, message
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
