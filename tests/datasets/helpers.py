"""Small studies' data sets and what their tests share."""

import numpy as np
import torch
from PIL import Image

from greencv_core.study.schema import Augmentation, Dataset

CPU = torch.device("cpu")
EVERYTHING = Augmentation(
    crop_padding=4,
    horizontal_flip=True,
    brightness=0.2,
    contrast=[0.6, 1.4],
    saturation=[0.5, 1.5],
    hue=0.1,
)
EACH = [
    Augmentation(**{name: getattr(EVERYTHING, name)})
    for name in ("crop_padding", "horizontal_flip", "brightness", "contrast", "saturation", "hue")
]


UNCHANGED = ([0.0] * 3, [1.0] * 3)
"""A normalisation that leaves pixels between 0 and 1."""


def spec(name="digits", train=256, validation=200, **changes):
    settings = {"image_size": 32, **changes}
    return Dataset(name=name, train_images=train, validation_images=validation, **settings)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def epoch(data, size=16, seed=0):
    """Return an epoch's training images and labels."""
    batches = list(data.train_batches(size, seeded(seed)))
    return torch.cat([one for one, _ in batches]), torch.cat([labels for _, labels in batches])


def validation(data, size=50):
    batches = list(data.validation_batches(size))
    return torch.cat([one for one, _ in batches]), torch.cat([labels for _, labels in batches])


def picture(seed, width, height):
    """Return a smooth image, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def of_folder(root, train=20, validation=10, **changes):
    return spec(f"imagefolder:{root}", train, validation, **changes)
