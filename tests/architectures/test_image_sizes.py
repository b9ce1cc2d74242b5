"""Every accepted architecture trains a step at its image size; others are refused with sizes."""

import pytest
import torch

from greencv_core.architectures.build import build
from greencv_core.architectures.image_sizes import check_image_size
from greencv_core.architectures.libraries import LIBRARIES, Library
from tests.support.networks import outcome
from tests.support.refusals import refusal

ANY = "trains"
SAMPLE = {
    ("squeezenet1_1", 32, "none"): ANY,
    ("densenet121", 32, "imagenet"): ANY,
    ("googlenet", 32, "imagenet"): ANY,
    ("regnet_y_400mf", 32, "none"): ANY,
    ("vit_b_32", 64, "none"): ANY,
    ("timm:test_resnet", 8, "none"): ANY,
    ("timm:deit_tiny_distilled_patch16_224", 32, "imagenet"): ANY,
    ("inception_v3", 64, "none"): "use for example 96, 112, 128",
    ("maxvit_t", 32, "imagenet"): "use for example 224",
    ("vit_b_32", 48, "none"): "use for example 32, 64, 96",
    ("timm:halonet26t", 64, "none"): "use for example 256, 512",
    ("timm:mixer_b16_224", 64, "none"): ANY,
    (
        "timm:mixer_b16_224",
        64,
        "imagenet",
    ): "imagenet cannot be trained on images of this size; use for example 224",
}


@pytest.mark.parametrize(("name", "image_size", "weights"), SAMPLE)
def test_a_network_trains_a_step_or_is_refused_with_sizes_that_fit(name, image_size, weights):
    assert SAMPLE[name, image_size, weights] in outcome(name, image_size, weights)


@pytest.mark.parametrize("image_size", [32, 64, 96])
def test_what_is_said_of_a_size_without_values_is_so_with_values(image_size):
    module = build("inception_v3", 10, image_size).module
    images = torch.zeros(2, 3, image_size, image_size)
    if outcome("inception_v3", image_size) == "trains":
        module.train()(images).sum().backward()
    else:
        with pytest.raises(RuntimeError):
            module.train()(images)


class NeedsValues(torch.nn.Linear):
    """A network that cannot be tried without values."""

    def forward(self, images):
        brightest = images.amax().item()
        return super().forward(images.flatten(1) / (1 + brightest))


class ReturnsTwo(torch.nn.Linear):
    """A network with an auxiliary head."""

    def forward(self, images):
        return (super().forward(images.flatten(1)),) * 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(NeedsValues, None), (ReturnsTwo, "cannot be trained as an image classifier at any size")],
)
def test_a_network_of_another_library_is_tried(monkeypatch, kind, expected):
    def make(name, classes, image_size, pretrained):
        return kind(3 * image_size**2, classes)

    monkeypatch.setitem(LIBRARIES, "own", Library(lambda: ["net"], make))
    if expected is None:
        check_image_size("own:net", 32)
    else:
        assert expected in refusal(check_image_size, "own:net", 32)
