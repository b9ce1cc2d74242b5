"""Training, data and architectures: figures against recomputation."""

from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from sklearn import metrics

from greencv_core import datasets, training
from greencv_core.architectures import build
from greencv_core.study.schema import Dataset, EarlyStopping, EnvironmentSpec, Protocol

DATA = Dataset(name="digits", train_images=256, validation_images=200)
CPU = EnvironmentSpec(name="cpu", device="cpu", threads=1)


protocol = partial(
    Protocol, epochs=2, batch_size=32, learning_rate=0.002, repetitions=1, batch_norm_momentum=0.3
)


def loaded(environment=CPU, spec=DATA):
    layout = training.memory_format(environment)
    return datasets.load_dataset(spec).to(torch.device(environment.device), layout)


def trained(seed=0, environment=CPU, **changes):
    torch.manual_seed(seed)
    data = loaded(environment)
    model = build.build("shufflenet_v2_x0_5", data.classes, 32).module
    model = model.to(memory_format=training.memory_format(environment))
    return model, data, training.train(model, data, protocol(**changes), environment, seed=seed)


def test_correctness_agrees_with_scikit_learn():
    model, data, history = trained()
    [(images, labels)] = data.validation_batches(training.EVALUATION_BATCH)
    with torch.inference_mode():
        probabilities = model(images).softmax(1).numpy()
    true, predicted = labels.numpy(), probabilities.argmax(1)
    measured = history.epochs[-1].correctness
    options = {"average": "macro", "zero_division": 0}
    expected = (
        metrics.accuracy_score(true, predicted),
        metrics.precision_score(true, predicted, **options),
        metrics.recall_score(true, predicted, **options),
        metrics.f1_score(true, predicted, **options),
        metrics.roc_auc_score(true, probabilities, multi_class="ovr"),
    )
    assert tuple(vars(measured).values()) == pytest.approx(expected, abs=1e-4)
    assert measured.accuracy == pytest.approx(expected[0])
    assert measured.f1_macro == pytest.approx(expected[3])


def test_a_seed_decides_the_training():
    first, again, other = (trained(seed)[2] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.images_processed == 2 * (256 // 32 * 32 + 200)  # training and validation
    assert (first.ended_by, first.final_epoch) == ("epochs", 2)


def test_early_stopping_waits_for_its_patience():
    rule = EarlyStopping(monitor="accuracy", patience=1, min_delta=1.0)
    history = trained(epochs=5, early_stopping=rule)[2]
    assert len(history.epochs) == 2
    assert history.ended_by == "early stopping"


def test_a_diverging_loss_is_an_error():
    with pytest.raises(FloatingPointError, match=r"lower protocol\.learning_rate"):
        trained(optimizer="sgd", learning_rate=10.0, epochs=20, momentum=0.99)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_optimizers_and_schedules_lower_the_loss(optimizer, schedule):
    history = trained(optimizer=optimizer, schedule=schedule, epochs=3)[2]
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


@pytest.mark.parametrize(
    "environment",
    [
        EnvironmentSpec(name="mixed", device="cpu", threads=2, precision="bf16"),
        EnvironmentSpec(name="last", device="cpu", threads=2, memory_format="channels_last"),
    ],
)
def test_precision_and_layout_train(environment):
    assert np.isfinite(trained(environment=environment)[2].epochs[-1].train_loss)


def test_gflops_agree_with_a_count_by_hand():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(8 * 16 * 16, 10)
    )
    by_hand = 2 * (16 * 16 * 8 * 3 * 9 + 8 * 16 * 16 * 10)
    assert build.gflops_per_image(model, 16) == pytest.approx(by_hand / 1e9)
    assert build.parameter_count(model) == 3 * 8 * 9 + 8 + 8 * 16 * 16 * 10 + 10


def test_published_gflops_of_resnet18():
    # torchvision states 1.81 billion multiply-adds at 224 pixels.
    model = build.build("torchvision:resnet18", 1000, 224).module
    assert build.gflops_per_image(model, 224) == pytest.approx(2 * 1.81, rel=0.01)


def test_attention_counts_in_gflops():
    tokens, width, hidden, classes = 4 + 1, 32, 64, 10
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=width, mlp_dim=hidden,
        num_classes=classes,
    )  # fmt: skip
    patches = 2 * 4 * width * 3 * 16 * 16
    attention = 2 * tokens * width * (3 * width + 2 * tokens + width)
    by_hand = patches + attention + 2 * 2 * tokens * width * hidden + 2 * width * classes
    assert build.gflops_per_image(model, 32) == pytest.approx(by_hand / 1e9)


def test_a_vision_transformer_is_built_for_the_image_size():
    model = build.build("vit_b_32", 10, 64).module.eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_warming_up_leaves_no_trace():
    torch.manual_seed(3)
    data = loaded()
    model = build.build("mobilenet_v2", data.classes, 32).module  # it has dropout
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    training.warm_up(model, data, protocol(), CPU)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
