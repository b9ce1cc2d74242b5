"""Losses of correctness, where the validation images are a sample of all images.

Truth is the correctness on all images that could have been drawn. Some images are harder than
others, for every condition, for one condition, and for one run.
"""

import base64

import numpy as np
from scipy import stats

from benchmarks.verdict_cases.case import COVERAGE, FALSE_YES, Case
from benchmarks.verdict_cases.studies import runs_table
from greencv_core.analysis import NotEnoughDataError, savings_without_loss
from greencv_core.analysis.choice.decision import decide

CLASSES = 10
EASE = np.linspace(0.6, -0.6, CLASSES)  # of the classes
COMMON, OWN, RUN, ANSWER = 1.0, 0.5, 0.1, 0.6
"""Standard deviations of an image's ease: for all, for one condition, of a run, of an answer."""
GOOD = 2.4
MARGIN = 0.02
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(30)


def population_f1(skill):
    """Return the mean over runs of macro F1 on all images."""
    spread = np.sqrt(COMMON**2 + OWN**2 + ANSWER**2)
    recall = stats.norm.cdf((skill + EASE + RUN * NODES[:, None]) / spread)
    missed = (1 - recall) / (CLASSES - 1)
    f1 = 2 * recall / (1 + recall + missed.sum(axis=1, keepdims=True) - missed)
    return float(np.average(f1.mean(axis=1), weights=WEIGHTS))


SKILLS = np.linspace(0.5, 4.0, 400)
F1_OF = np.array([population_f1(skill) for skill in SKILLS])


def study(rng, n, images, loss):
    """Return a runs table of two conditions, of which the cheap one loses so much."""
    labels = np.arange(images) % CLASSES
    common = EASE[labels] + rng.normal(0, COMMON, images)
    encoded, scores = {}, {}
    for name, skill in zip(("dear", "cheap"), skills(loss), strict=True):
        ease = skill + common + rng.normal(0, OWN, images) + rng.normal(0, RUN, (n, 1))
        wrong = (labels + rng.integers(1, CLASSES, (n, images))) % CLASSES
        answers = np.where(ease + rng.normal(0, ANSWER, (n, images)) > 0, labels, wrong)
        counted = [count_pairs(labels, run) for run in answers]
        scores[name] = [
            float(np.mean(2 * np.diag(c) / (c.sum(axis=0) + c.sum(axis=1)))) for c in counted
        ]
        encoded[name] = [as_text(run) for run in answers]
    energies = {"dear": rng.normal(2, 0.01, n), "cheap": rng.normal(1, 0.01, n)}
    runs = runs_table(energies, scores)
    return runs.assign(
        validation_images=images,
        validation_labels=as_text(labels),
        validation_predictions=[text for name in energies for text in encoded[name]],
        f1_macro_image_error=np.nan,
        energy_j=runs["energy_j_per_image"],
    )


def skills(loss):
    return GOOD, float(np.interp(population_f1(GOOD) - loss, F1_OF, SKILLS))


def count_pairs(labels, answers):
    counts = np.bincount(labels * CLASSES + answers, minlength=CLASSES**2)
    return counts.reshape(CLASSES, CLASSES)


def as_text(classes):
    return base64.b64encode(classes.astype(np.uint8).tobytes()).decode()


def cheap_row(rng, n, images, loss):
    """Return what is said of the cheap condition's loss, in either form of the answer."""
    found = savings_without_loss(study(rng, n, images, loss), MARGIN)
    table = getattr(found, "conditions", found.pairs)
    names = table["condition" if "condition" in table else "to"].astype(str)
    rows = table[names.str.startswith("cheap")]
    return None if rows.empty else rows.iloc[0]


def shown_at_the_margin(rng, n, images):
    """Is a loss of exactly the margin shown to be below it?"""
    row = cheap_row(rng, n, images, MARGIN)
    return None if row is None else bool(row["passes"])


def admitted_at_its_loss(rng, n, images, loss=MARGIN):
    """Is the cheap condition recommended where a little less than its loss is accepted?"""
    try:
        choice = decide(study(rng, n, images, loss)).choice(loss - 1e-4)
    except NotEnoughDataError:
        return None
    return choice is not None and choice.levels[0] == "cheap"


def bound_holds(rng, n, images, loss=0.01):
    """Is the upper bound of the loss above the true loss?"""
    row = cheap_row(rng, n, images, loss)
    return None if row is None else bool(row["loss_high"] >= loss)


_SIZES = [(n, images) for images in (300, 581) for n in (3, 10, 30)]
_ASKED = (
    (FALSE_YES, "a loss of the margin is called smaller", shown_at_the_margin, _SIZES),
    (FALSE_YES, "recommended at less than its loss", admitted_at_its_loss, _SIZES[1:5:3]),
    (COVERAGE, "upper bound of a loss of 1 point", bound_holds, _SIZES[::2]),
)
CASES = [
    Case("validation images", kind, f"{what}, n = {n}, {images} images", ask,
         {"n": n, "images": images}, 240)
    for kind, what, ask, sizes in _ASKED
    for n, images in sizes
]  # fmt: skip
