"""Weights to start from, and names of architectures."""

import hashlib
import io

import pytest
import timm
import torch
import torchvision

from greencv_core.architectures import build
from greencv_core.architectures.libraries import LIBRARIES, imagenet_size
from greencv_core.architectures.weights import classifier_layers
from greencv_core.records.source import load_study
from greencv_core.training.stage import freeze_for_stage
from tests.support.refusals import refusal


def test_weights_of_a_file_are_loaded_and_hashed(tmp_path):
    source = build.build("squeezenet1_1", 10, 32).module
    path = tmp_path / "squeezenet1_1.pth"
    torch.save(source.state_dict(), path)
    pattern = f"file:{tmp_path}/{{architecture}}.pth"
    same = build.build("squeezenet1_1", 10, 32, pattern)
    for name, value in source.state_dict().items():
        assert torch.equal(same.module.state_dict()[name], value)
    assert same.normalisation == build.IMAGENET
    fewer = build.build("squeezenet1_1", 4, 32, pattern)
    assert torch.equal(fewer.module.features[0].weight, source.features[0].weight)
    assert classifier_layers(fewer.module)[0].out_channels == 4
    assert len(same.weights_sha256) == 64
    assert fewer.weights_sha256 == same.weights_sha256
    assert build.build("squeezenet1_1", 10, 32).weights_sha256 == ""


def test_an_unusable_weight_file_is_one_line(tmp_path):
    path = tmp_path / "weights.pth"

    def error_message():
        return refusal(build.build, "squeezenet1_1", 10, 32, f"file:{path}")

    assert "no such file" in error_message()
    path.write_bytes(b"no weights")
    assert "not a readable file of weights" in error_message()
    torch.save(build.build("resnet18", 10, 32).module.state_dict(), path)
    message = error_message()
    assert "does not fit squeezenet1_1: features.0.weight is absent, and" in message
    torch.save([1, 2], path)
    assert "state dictionary" in error_message()


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    source = build.build("squeezenet1_1", 10, 32).module
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    loaded = build.build("squeezenet1_1", 10, 32, f"file:{path}").module
    assert torch.equal(loaded.features[0].weight, source.features[0].weight)


def test_imagenet_weights_are_downloaded_and_get_a_new_last_layer(site, tmp_path, monkeypatch):
    source = torchvision.models.squeezenet1_1(weights=None)
    packed = io.BytesIO()
    torch.save(source.state_dict(), packed)
    name = f"net-{hashlib.sha256(packed.getvalue()).hexdigest()[:8]}.pth"
    site.files[f"/{name}"] = packed.getvalue()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    from_url = torchvision.models._api.load_state_dict_from_url
    monkeypatch.setattr(
        torchvision.models._api,
        "load_state_dict_from_url",
        lambda url, *a, **options: from_url(f"{site.url}/{name}", *a, **options),
    )
    built = build.build("squeezenet1_1", 10, 32, "imagenet")
    assert torch.equal(built.module.features[0].weight, source.features[0].weight)
    assert classifier_layers(built.module)[0].out_channels == 10
    assert built.normalisation == build.IMAGENET
    name = "net-00000000.pth"  # missing on the server
    text = refusal(build.build, "squeezenet1_1", 10, 32, "imagenet")
    assert "could not be downloaded: HTTP Error 404" in text
    site.files[f"/{name}"] = b"damaged"
    text = refusal(build.build, "squeezenet1_1", 10, 32, "imagenet")
    assert "could not be downloaded: invalid hash" in text


@pytest.fixture
def made_up_downloads(monkeypatch):
    """Answer torchvision's downloads with weights of the right shapes."""
    names = torchvision.models.list_models(module=torchvision.models)
    by_url = {torchvision.models.get_model_weights(name).DEFAULT.url: name for name in names}

    def load(url, *_, **__):
        name = by_url[url]
        options = {}
        if name in ("googlenet", "inception_v3"):
            options = {"aux_logits": True}
        elif name.startswith("vit_"):
            options = {"image_size": imagenet_size(name)}
        return torchvision.models.get_model(name, weights=None, **options).state_dict()

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", load)
    return names


def assert_trains_with_imagenet(name):
    size = imagenet_size(name) or 224
    build.check_architecture(name, "imagenet", size)
    # RegNet cannot be built without values.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        module = LIBRARIES["torchvision"].build(name, 10, size, True)
        output = module.train()(torch.zeros(2, 3, size, size))
    assert output.shape == (2, 10), name
    assert len(classifier_layers(module)) == 1


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "vit_h_14", "maxvit_t"])
def test_imagenet_weights_of_a_name_train(made_up_downloads, name):
    assert_trains_with_imagenet(name)


def test_timm_models_can_be_named():
    built = build.build("timm:test_resnet", 10, 64)
    assert built.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    assert classifier_layers(built.module)[0].out_features == 10


def test_all_last_layers_of_a_distilled_network_are_new_and_train_first(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    source = timm.create_model(name, img_size=32)
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    built = build.build(f"timm:{name}", 10, 32, f"file:{path}").module
    assert [layer.out_features for layer in classifier_layers(built)] == [10, 10]
    assert torch.equal(built.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    with freeze_for_stage(built, "frozen", load_study("smoke").protocol):
        trained = {key for key, value in built.named_parameters() if value.requires_grad}
    assert trained == {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("paper:vgg61", "none", "did you mean paper:vgg16"),
        ("timm:resnet81", "none", "did you mean timm:resnet"),
        ("keras:vgg16", "none", "unknown library keras; known: torchvision, timm, paper"),
        ("vit_b_16", "imagenet", "for images of 224 pixels; dataset.image_size = 32"),
        ("vit_h_14", "imagenet", "for images of 518 pixels; dataset.image_size = 32"),
        ("resnet18", "file:/nowhere/{architecture}.pth", "/nowhere/resnet18.pth: no such file"),
    ],
)
def test_an_impossible_architecture_is_one_line_with_a_hint(name, weights, message):
    assert message in refusal(build.check_architecture, name, weights, 32)
