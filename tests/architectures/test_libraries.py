"""Libraries of architectures: an entry adds networks."""

import torch

from greencv_core.architectures.build import architecture_names, build
from greencv_core.architectures.libraries import LIBRARIES, Library
from tests.support.refusals import refusal


def build_linear(name, classes, image_size, pretrained):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * image_size**2, classes))


def test_one_entry_adds_a_network(monkeypatch):
    monkeypatch.setitem(LIBRARIES, "own", Library(lambda: ["linear"], build_linear))
    assert "own:linear" in architecture_names()
    built = build("own:linear", 4, 8)
    assert built.module(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    assert built.normalisation is None
    assert "did you mean own:linear" in refusal(build, "own:liner", 4, 8)
    text = refusal(build, "own:linear", 4, 8, "imagenet")
    assert "own:linear has none; use none or file:PATH" in text


def test_every_classifier_of_torchvision_is_available():
    names = architecture_names()
    assert {"alexnet", "resnet18", "vit_b_16", "paper:vgg16"} <= set(names)
    assert len(names) > 60
