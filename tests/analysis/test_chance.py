"""Chance: what no training has learned, by number of classes and of images."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from greencv_core.analysis.chance import (
    chance_bounds,
    chance_level,
    chance_sentence,
    learned_nothing,
)
from greencv_core.datasets import count_classes
from greencv_core.published.tables import complete_table
from greencv_core.records.tables import _KNOWN_CLASSES
from greencv_core.study.schema import Dataset

SCORES = {
    "accuracy": accuracy_score,
    "f1_macro": lambda true, told: f1_score(true, told, average="macro", zero_division=0),
    "recall_macro": lambda true, told: recall_score(true, told, average="macro", zero_division=0),
}


def runs_with(values, name="f1_macro", classes=10, images=300):
    return pd.DataFrame({name: values, "classes": classes, "validation_images": images})


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("name", SCORES)
def test_no_predictor_that_ignores_the_image_is_above_chance(classes, name):
    rng = np.random.default_rng(3)
    true = np.repeat(np.arange(classes), 400 // classes)
    constant = SCORES[name](true, np.zeros_like(true))
    assert constant <= chance_level(name, classes) + 1e-12
    told = [SCORES[name](true, rng.integers(0, classes, len(true))) for _ in range(300)]
    bound = chance_bounds(runs_with([0.5], name, classes, len(true)), name)[0]
    assert np.mean(np.array(told) > bound) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(told) <= chance_level(name, classes) + 0.005


def test_the_f1_of_the_positive_class_and_the_area_have_a_chance_of_their_own():
    true = np.repeat([0, 1], 200)
    assert chance_level("f1", 2) == pytest.approx(f1_score(true, np.ones_like(true)))
    assert chance_level("F1 of the positive class", 2) == pytest.approx(2 / 3)
    assert chance_level("auroc_macro", 7) == roc_auc_score(true, np.ones(400)) == 0.5
    assert chance_level("auc", 2) == 0.5


def test_a_constant_predictor_over_ten_classes_has_learned_nothing():
    constant = f1_score(np.repeat(np.arange(10), 30), np.zeros(300), average="macro",
                        zero_division=0)  # fmt: skip
    assert constant == pytest.approx(2 / (10 * 11))
    assert learned_nothing(runs_with([constant] * 3), "f1_macro")
    assert learned_nothing(runs_with([0.09, 0.12, 0.9]), "f1_macro")
    assert not learned_nothing(runs_with([0.09, 0.5, 0.9]), "f1_macro")
    assert learned_nothing(runs_with([0.09, 0.9]), "f1_macro")  # half of them
    assert not learned_nothing(runs_with([np.nan, np.nan]), "f1_macro")


def test_more_images_allow_less_for_chance():
    bounds = [chance_bounds(runs_with([0.5], images=n), "f1_macro")[0] for n in (30, 300, 30_000)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(0.1, abs=0.005)
    assert chance_bounds(runs_with([0.5], images=np.nan), "f1_macro")[0] == pytest.approx(0.1)


def test_an_unknown_number_of_classes_is_said_to_be_unknown():
    for runs in (runs_with([0.01, 0.02], classes=np.nan), pd.DataFrame({"f1_macro": [0.01, 0.02]})):
        assert not learned_nothing(runs, "f1_macro")
        assert "The number of classes is unknown" in chance_sentence(runs, "f1_macro")
        assert learned_nothing(runs.assign(f1_macro=0.0), "f1_macro")
    assert "at most 0.130" in chance_sentence(runs_with([0.5]), "f1_macro")


def test_published_correctness_is_judged_by_what_it_is():
    table = complete_table(
        pd.DataFrame(
            {
                "run": range(3), "architecture": "a", "environment": "e", "energy_j": 1.0,
                "dataset": ["CIFAR-10", "private images of two classes", "unheard of"],
                "correctness": 0.5,
                "correctness_name": ["accuracy", "F1 of the positive class", "accuracy"],
            }
        ),
        "made-up",
    )  # fmt: skip
    assert chance_bounds(table, "correctness").tolist() == pytest.approx([0.1, 2 / 3, 0.0])


@pytest.mark.parametrize("name", sorted(_KNOWN_CLASSES))
def test_classes_of_known_data_sets_are_the_registrys(name):
    spec = Dataset(name=name, train_images=200, validation_images=200)
    assert count_classes(spec) == _KNOWN_CLASSES[name]
