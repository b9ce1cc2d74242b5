"""The error of a correctness by the finite number of images, against a bootstrap and McNemar."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from greencv_core.analysis import savings_without_loss
from greencv_core.analysis.choice.decision import decide
from greencv_core.analysis.images import image_error, image_error_sentence, image_variances
from greencv_core.utils.confusion import count_pairs, encode_classes
from tests.support.tables import lognormal, runs_of

RNG = np.random.default_rng(1)
CLASSES = 4


def answers(labels, share, rng=RNG):
    """Return predictions of which about this share is wrong."""
    wrong = (labels + rng.integers(1, CLASSES, len(labels))) % CLASSES
    return np.where(rng.random(len(labels)) < share, wrong, labels)


def group(labels, runs, **columns):
    """Return the runs table of one condition from each run's predictions."""
    return pd.DataFrame(
        {
            "validation_labels": encode_classes(labels),
            "validation_predictions": [encode_classes(run) for run in runs],
            **columns,
        }
    )


def test_the_error_of_macro_f1_is_that_of_a_bootstrap_over_images():
    labels = RNG.choice(CLASSES, 400, p=[0.55, 0.25, 0.15, 0.05])
    predictions = answers(labels, 0.15)
    drawn = RNG.integers(0, 400, (1500, 400))
    scores = [f1_score(labels[some], predictions[some], average="macro") for some in drawn]
    confusion = count_pairs(labels, predictions, CLASSES)
    assert image_error(confusion, "f1_macro") == pytest.approx(np.std(scores), rel=0.06)


def test_the_error_of_accuracy_is_the_binomial_one():
    labels = np.arange(500) % CLASSES
    predictions = answers(labels, 0.1)
    p = np.mean(labels == predictions)
    error = image_error(count_pairs(labels, predictions, CLASSES), "accuracy")
    assert error == pytest.approx(np.sqrt(p * (1 - p) / 499))


def test_paired_accuracies_have_mcnemars_variance():
    labels = np.arange(300) % CLASSES
    first, second = answers(labels, 0.2), answers(labels, 0.1)
    hits = [(labels == some).astype(float) for some in (first, second)]
    groups = [group(labels, [some] * 3) for some in (first, second)]
    found = image_variances(groups, "accuracy")
    only_first, only_second = ((hits[0] > hits[1]).sum(), (hits[1] > hits[0]).sum())
    expected = (only_first + only_second - (only_first - only_second) ** 2 / 300) / 300 / 299
    assert found[0, 1] == found[1, 0] == pytest.approx(expected + 1 / 300**2)


@pytest.mark.parametrize("correctness", ["accuracy", "f1_macro"])
def test_what_runs_do_by_chance_is_left_to_the_spread_between_runs(correctness):
    # Every image is as hard as every other: only runs differ.
    labels = np.arange(2000) % CLASSES
    groups = [group(labels, [answers(labels, 0.1) for _ in range(10)]) for _ in range(2)]
    alone = image_error(count_pairs(labels, answers(labels, 0.1), CLASSES), correctness) ** 2
    assert image_variances(groups, correctness)[0, 1] < 0.03 * alone


def test_images_that_are_not_the_same_are_not_paired():
    labels = np.arange(300) % CLASSES
    errors = {"f1_macro_image_error": 0.01}
    first = group(labels, [answers(labels, 0.1)] * 2, **errors)
    second = group(labels[::-1], [answers(labels[::-1], 0.1)] * 2, **errors)
    without = pd.DataFrame({"f1_macro": [0.9, 0.91]})
    found = image_variances([first, second, without], "f1_macro")
    assert found[0, 1] == pytest.approx(2e-4)
    assert found[0, 2] == 0
    assert image_variances([first, first], "auroc_macro")[0, 1] == 0


def test_a_page_says_what_error_is_missing():
    known = pd.DataFrame({"f1_macro": [0.9, 0.9], "f1_macro_image_error": [0.01, 0.01]})
    assert image_error_sentence(known, "f1_macro") == ""
    older = pd.DataFrame({"f1_macro": [0.9, 0.9], "validation_images": [300, 300]})
    assert image_error_sentence(older, "f1_macro") == (
        "The error from 300 validation images (95%: about 3.4 points of macro F1 to either side) "
        "is not included."
    )
    unknown = image_error_sentence(older[["f1_macro"]], "f1_macro")
    assert unknown == "The error from the number of validation images is not included."


def test_the_margin_and_the_decision_take_the_images_into_account():
    # Each condition fails on six images of its own: as good on these, unknown on others.
    labels = np.arange(100) % CLASSES
    energies = {"dear": lognormal(1, 6, 2.0, 0.02), "cheap": lognormal(2, 6, 1.0, 0.02)}
    runs = runs_of(energies, {name: 0.94 + 0.001 * np.arange(6) for name in energies})
    runs = runs.assign(duration_s_per_image=1.0, power_w=1.0, provenance="measured")
    texts = {}
    for name, first in (("dear", 0), ("cheap", 20)):
        predictions = labels.copy()
        predictions[first : first + 6] = (labels[first : first + 6] + 1) % CLASSES
        texts[name] = encode_classes(predictions)
    known = runs.assign(
        validation_labels=encode_classes(labels),
        validation_predictions=runs["architecture"].map(texts),
        f1_macro_image_error=0.02,
    )
    for table, shown in ((runs, True), (known, False)):
        found = savings_without_loss(table, 0.02)
        assert (found.best is not None) == shown
        assert ("validation images is not included" in found.sentence()) == shown
        # The dear condition is not shown to be worse, but takes more energy: never the choice.
        choice = decide(table).choice(0.02)
        assert (choice.levels[0] if choice else None) == ("cheap" if shown else None)
