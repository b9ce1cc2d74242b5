"""Augmentation of batches against torchvision's functions for single images."""

from collections import Counter

import pytest
import torch
from torchvision.transforms.v2 import functional

from greencv_core import datasets
from greencv_core.datasets import augment
from greencv_core.study.schema import Augmentation
from tests.datasets.helpers import EACH, EVERYTHING, UNCHANGED, epoch, seeded, spec, validation


def one_by_one(batch, draws, requested):
    """Change images one by one, with torchvision's functions for one image."""
    changed = []
    for number, image in enumerate(batch):
        if draws.corners is not None:
            top, left = draws.corners[number].tolist()
            image = functional.pad(image, [requested.crop_padding], padding_mode="reflect")
            image = functional.crop(image, top, left, *batch.shape[-2:])
        if draws.flips is not None and draws.flips[number]:
            image = functional.horizontal_flip(image)
        if draws.shifts is not None:
            image = (image + draws.shifts[number]).clamp(0, 1)
        if draws.contrasts is not None:
            image = functional.adjust_contrast(image, draws.contrasts[number].item())
        if draws.saturations is not None:
            image = functional.adjust_saturation(image, draws.saturations[number].item())
        if draws.hue_steps is not None:
            share = (draws.hue_steps[number].item() - 4) / 4 * requested.hue
            image = functional.adjust_hue(image, share)
        changed.append(image)
    return torch.stack(changed)


@pytest.mark.parametrize("requested", [*EACH, EVERYTHING], ids=[*"pfbcsh", "all"])
def test_a_batch_is_augmented_like_single_images(requested):
    batch = torch.rand(40, 3, 16, 16, generator=seeded())
    draws = augment.draw(requested, 40, seeded(1))
    changed = augment.augment(batch.clone(), draws, requested)
    torch.testing.assert_close(changed, one_by_one(batch, draws, requested), atol=2e-5, rtol=0)
    differs = (changed - batch).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert differs.float().mean() > (0.3 if requested.horizontal_flip else 0.7)
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("requested", EACH, ids=[*"pfbcsh"])
def test_every_image_has_its_own_draw(requested):
    same = torch.rand(1, 3, 16, 16, generator=seeded()).expand(64, -1, -1, -1)
    changed = augment.augment(same, augment.draw(requested, 64, seeded()), requested)
    kinds = len({image.numpy().tobytes() for image in changed})
    if requested.horizontal_flip:
        assert kinds == 2
    elif requested.hue:
        assert kinds == augment.HUE_STEPS
    else:
        assert kinds > 40


def test_draws_are_in_their_ranges():
    draws = augment.draw(EVERYTHING, 5000, seeded())
    assert draws.corners.min() == 0
    assert draws.corners.max() == 8
    assert 0.45 < draws.flips.float().mean() < 0.55
    assert -0.2 <= draws.shifts.min() < -0.19 < 0.19 < draws.shifts.max() <= 0.2
    assert 0.6 <= draws.contrasts.min() < 0.61 < 1.39 < draws.contrasts.max() <= 1.4
    assert 0.5 <= draws.saturations.min() < 0.51 < 1.49 < draws.saturations.max() <= 1.5
    assert sorted(Counter(draws.hue_steps.tolist())) == list(range(9))
    assert augment.hue_shift(0, 0.1) == -0.1
    assert augment.hue_shift(8, 0.1) == 0.1


def test_a_generator_determines_the_augmentation():
    requested = spec(train=64, augmentation=EVERYTHING)
    data = datasets.load_dataset(requested)
    assert torch.equal(epoch(data, seed=1)[0], epoch(data, seed=1)[0])
    assert not torch.equal(epoch(data, seed=1)[0], epoch(data, seed=2)[0])
    generator = seeded(1)
    first, second = (next(data.train_batches(64, generator))[0] for _ in range(2))
    assert not torch.equal(first.sort()[0], second.sort()[0])
    plain = datasets.load_dataset(spec(train=64))
    assert torch.equal(epoch(data, seed=1)[1], epoch(plain, seed=1)[1])
    assert torch.equal(validation(data)[0], validation(plain)[0])


def test_augmentation_precedes_normalisation():
    requested = spec("synthetic", 40, 20, image_size=16, augmentation=EVERYTHING)
    plain = datasets.load_dataset(
        requested.model_copy(update={"augmentation": Augmentation()}),
        normalisation=UNCHANGED,
    )
    data = datasets.load_dataset(requested, normalisation=([0.5] * 3, [0.25] * 3))
    generator = seeded(3)
    order = torch.randperm(40, generator=generator)[:32]
    draws = augment.draw(EVERYTHING, 32, generator)
    batch = plain.sample(40)[0][order]
    expected = (one_by_one(batch, draws, EVERYTHING) - 0.5) / 0.25
    torch.testing.assert_close(epoch(data, 16, 3)[0], expected, atol=2e-4, rtol=0)
