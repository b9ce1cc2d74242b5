"""Stages of a training, their optimisers, and the rules that end them."""

import shutil
from functools import partial

import pytest
import torch

from greencv_core import training
from greencv_core.study.schema import (
    Augmentation,
    Budget,
    EarlyStopping,
    Plateau,
    Protocol,
    Stage,
    Target,
)
from tests.training.test_training import CPU, DATA, loaded

protocol = partial(Protocol, epochs=2, batch_size=32, learning_rate=0.01, repetitions=1)


def small_net():
    """Return a net with all that a stage treats in its own way; its last layer is its head."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(128, 10),
    )


def trained(settings, model=None, data=None, **options):
    model, data = model or small_net(), data or loaded()
    changed = changes_of(model)
    history = training.train(model, data, settings, CPU, seed=1, **options)
    return model, history, changed()


def changes_of(model):
    """Return a function that returns the names of the values that have changed since."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    return lambda: {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}


FROZEN = Stage(epochs=1, learning_rate=0.01)


def test_a_frozen_stage_trains_the_last_layers_alone():
    seen, model = [], small_net()
    until_now = changes_of(model)
    settings = protocol(frozen_stage=FROZEN)
    _, history, changed = trained(settings, model, on_epoch=lambda epoch: seen.append(until_now()))
    assert seen[0] == {"6.weight", "6.bias"}
    assert {"0.weight", "1.weight", "1.running_mean", "6.weight"} <= changed
    assert [e.stage for e in history.epochs] == ["frozen", "main", "main"]
    assert [e.epoch for e in history.epochs] == [1, 2, 3]
    assert all(p.requires_grad for p in model.parameters())


def test_a_run_may_stop_early_only_where_a_rule_can_take_effect():
    assert not protocol(epochs=3).may_stop_early
    assert protocol(epochs=4, early_stopping=EarlyStopping(patience=2)).may_stop_early
    assert not protocol(epochs=3, early_stopping=EarlyStopping(patience=2)).may_stop_early
    assert protocol(target=Target(value=0.5)).may_stop_early
    assert protocol(budget=Budget(energy_j=1.0)).may_stop_early


def test_each_stage_has_an_optimiser_of_its_own():
    stage = Stage(epochs=2, learning_rate=0.02, optimizer="adam")
    settings = protocol(frozen_stage=stage, optimizer="sgd", nesterov=False, learning_rate=1e-3)
    history = trained(settings)[1]
    assert [e.learning_rate for e in history.epochs] == [0.02, 0.02, 1e-3, 1e-3]


def test_fixed_batch_normalisation_keeps_its_statistics():
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert statistics <= trained(protocol())[2]
    assert not statistics & trained(protocol(batch_norm="fixed"))[2]


def test_a_target_ends_the_training_when_it_is_reached():
    full = trained(protocol(epochs=6))[1]
    reached = [e.correctness.accuracy for e in full.epochs]
    value = max(reached[:3])
    first = next(i for i, got in enumerate(reached) if got >= value)
    rule = Target(monitor="accuracy", value=value)
    history = trained(protocol(epochs=6, target=rule))[1]
    assert history.ended_by == "target"
    assert len(history.epochs) == first + 1
    unreached = trained(protocol(target=Target(value=1.0)))[1]
    assert (unreached.ended_by, len(unreached.epochs)) == ("epochs", 2)
    in_first_stage = trained(protocol(frozen_stage=FROZEN, target=Target(value=1e-9)))[1]
    assert (in_first_stage.ended_by, len(in_first_stage.epochs)) == ("target", 1)


def test_a_spent_budget_ends_the_training_but_not_after_the_last_epoch():
    calls = []

    def stop(epoch):
        calls.append(epoch.epoch)
        return "budget" if len(calls) == 2 else None

    assert trained(protocol(epochs=5), stop=stop)[1].ended_by == "budget"
    assert calls == [1, 2]
    history = trained(protocol(epochs=1), stop=lambda epoch: "budget")[1]
    assert history.ended_by == "epochs"


def test_the_best_epochs_weights_come_back():
    # A rate that makes things worse after a good beginning.
    rule = EarlyStopping(monitor="validation_loss", patience=3, min_delta=0.0, restore_best=True)
    settings = protocol(
        optimizer="sgd", momentum=0.0, learning_rate=0.3, epochs=12, early_stopping=rule
    )
    data = loaded()
    model, history, _ = trained(settings, data=data)
    losses = [e.validation_loss for e in history.epochs]
    best = losses.index(min(losses))
    assert history.final_epoch == best + 1 < len(losses)
    loss, _, predictions = training.evaluate(model, data, CPU)
    assert loss == pytest.approx(losses[best])
    assert torch.equal(predictions, history.predictions)


def test_the_weights_that_reached_a_target_are_kept():
    # The first epoch counts as the best: no later one is better by a whole point.
    rule = EarlyStopping(monitor="accuracy", patience=9, min_delta=1.0, restore_best=True)
    full = trained(protocol(epochs=6))[1]
    value = max(e.correctness.accuracy for e in full.epochs)
    assert full.epochs[0].correctness.accuracy < value
    settings = protocol(
        epochs=6, early_stopping=rule, target=Target(monitor="accuracy", value=value)
    )
    data = loaded()
    model, history, _ = trained(settings, data=data)
    assert history.final_epoch == len(history.epochs) > 1
    assert training.evaluate(model, data, CPU)[1].accuracy == value


def test_a_plateau_lowers_the_rate_after_its_patience():
    # No epoch improves by a whole point of accuracy: each second one is one too many.
    rule = Plateau(monitor="accuracy", patience=2, min_delta=1.0, factor=0.1)
    history = trained(protocol(epochs=6, plateau=rule, learning_rate=0.01))[1]
    rates = [e.learning_rate for e in history.epochs]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 1e-3, 1e-3, 1e-4])


def test_augmented_images_are_drawn_by_the_seed():
    spec = DATA.model_copy(
        update={"augmentation": Augmentation(horizontal_flip=True, crop_padding=2, brightness=0.1)}
    )
    first, again = (trained(protocol(), data=loaded(spec=spec))[1] for _ in range(2))
    assert first == again
    assert first != trained(protocol())[1]


@pytest.mark.slow
@pytest.mark.long
def test_a_compiled_model_learns_the_same():
    plain_net, model = small_net(), small_net()
    for net in (plain_net, model):
        net[5].p = 0.0  # a compiled net draws what it drops in a way of its own
    plain = trained(protocol(), plain_net)[1]
    model.compile()
    data = loaded()
    training.warm_up(model, data, protocol(frozen_stage=FROZEN), CPU)
    compiled = trained(protocol(), model, data)[1]
    assert compiled.epochs[-1].train_loss == pytest.approx(plain.epochs[-1].train_loss, rel=1e-3)


@pytest.mark.slow
def test_a_compiled_net_meets_nothing_new_after_the_warm_up():
    from torch._dynamo.utils import counters

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch compiles for the CPU with a C++ compiler")
    torch._dynamo.reset()
    counters.clear()
    data, model = loaded(), small_net()
    model.compile(dynamic=False)
    training.warm_up(model, data, protocol(), CPU)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled >= 2  # training and validation
    training.train(model, data, protocol(), CPU, seed=0)
    assert counters["stats"]["unique_graphs"] == compiled
