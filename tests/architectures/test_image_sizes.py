"""Every accepted architecture trains a step at its image size; others are refused with sizes."""

import re
import sys

import pytest
import timm
import torch

from greencv_core.architectures.build import architecture_names, build, check_architecture
from greencv_core.architectures.image_sizes import check_image_size
from greencv_core.architectures.libraries import LIBRARIES, Library, split_name
from greencv_core.architectures.weights import classifier_layers
from greencv_core.utils.errors import BadInputError
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


def differing_keys(name, image_size, device):
    """Return what the number of classes changes, and what the last layers hold."""
    library, plain = split_name(name)
    with torch.device(device):
        few, many = (LIBRARIES[library].build(plain, n, image_size, False) for n in (3, 7))
    last = classifier_layers(few)
    mine, other = few.state_dict(), many.state_dict()
    ours = {
        k
        for n, part in few.named_modules()
        if part in last
        for k in part.state_dict(prefix=f"{n}.")
    }
    return {key for key in mine if mine[key].shape != other[key].shape}, ours


def outcome(name, image_size, weights="none"):
    """Return ``trains``, or why a network is refused, which is in our words."""
    try:
        check_architecture(name, weights, image_size)
        check_image_size(name, image_size, weights)
    except BadInputError as error:
        text = str(error)
        ours = (
            rf"dataset\.image_size = {image_size}: \S+( with protocol.weights = imagenet)? cannot "
            r"be trained on images of this size; use for example (\d+, ){0,2}\d+",
            r"architectures: \S+: cannot be trained as an image classifier at any size that was "
            r"tried \(32 to 518 pixels\); choose another",
            r"protocol\.weights = imagenet: \S+ has none; use none or file:PATH",
            r"protocol\.weights = imagenet: those of \S+ are for images of \d+ pixels; "
            rf"dataset\.image_size = {image_size}",
        )
        assert any(re.fullmatch(words, text) for words in ours), text
        return text
    try:
        differ, held = differing_keys(name, image_size, "meta")
    except NotImplementedError:  # needs values
        differ, held = differing_keys(name, image_size, "cpu")
    assert differ == held, name
    return "trains"


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


def all_names(library):
    """Return all names of torchvision and of the original study, or one of each timm family."""
    if library == "timm":
        families = [timm.list_models(module=module) for module in timm.list_modules()]
        return [f"timm:{min(f, key=lambda name: (len(name), name))}" for f in families if f]
    return architecture_names()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("library", "weights"), [("torchvision", "none"), ("timm", "none"), ("timm", "imagenet")]
)
def test_every_name_trains_a_step_or_is_refused_in_our_words(capsys, library, weights):
    names = all_names(library)
    outcomes = {name: outcome(name, 32, weights) for name in names}
    refused = [text for text in outcomes.values() if text != "trains"]
    assert len(refused) < len(names) / 2
    head = f"{library}, 32 pixels, weights: {weights}: {len(names)} names"
    counts = f"{len(names) - len(refused)} train a step, {len(refused)} are refused"
    with capsys.disabled():
        sys.stdout.write("\n".join([f"\n{head}, {counts}:", *refused, ""]))
