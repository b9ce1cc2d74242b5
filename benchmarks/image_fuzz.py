"""Whether 10,000 odd images and folders are read as they are, or refused by name.

    .venv/bin/python benchmarks/image_fuzz.py [IMAGES] [FOLDERS]

8,000 images of all modes, depths and orientations of files, some damaged, and 2,000 folders with
links, copies, thumbnails and odd names (``tests/support``); some minutes. An image that is kept has
the mean, spread and pixels of what a person sees in it, within the limits in the title; an accepted
folder has no image in both parts of the split and each class in both. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import json
import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.output import new_table, show_progress
from tests.support import odd_images
from tests.support.odd_folders import make_odd_folder, try_odd_folder
from tests.support.odd_images import draw_image, try_image

SEED = 31
console = Console(width=120)


def main(images=8000, folders=2000):
    torch.set_num_threads(1)
    outcomes = defaultdict(Counter)
    wrong = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["GREENCV_DATASETS"] = f"{home}/datasets"
        for number in range(images + folders):
            attempt = try_one_image if number < images else try_one_folder
            kind, outcome = attempt(np.random.default_rng([SEED, number]), Path(home))
            if outcome not in ("kept", "refused"):
                wrong.append(f"case {number}, {kind}: {outcome}")
                outcome = "wrong"
            outcomes[kind][outcome] += 1
            if number % 100 == 0:
                show_progress(f"{number} of {images + folders} cases, {len(wrong)} wrong")
    show_progress("")
    report(outcomes, wrong)


def try_one_image(rng, home):
    image = draw_image(rng)
    path = home / f"image{image.suffix}"
    # One line for all depths, values and orientations of a format.
    kind = image.kind if image.kind == odd_images.DAMAGED else image.kind.split()[0]
    return kind, outcome_of(try_image, image, path, int(rng.integers(8, 70)))


def try_one_folder(rng, home):
    root = home / "folder"
    root.mkdir()
    make_odd_folder(rng, root)
    outcome = outcome_of(try_odd_folder, rng, root)
    shutil.rmtree(root)
    return "folder", outcome


def outcome_of(attempt, *arguments):
    try:
        return attempt(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def report(outcomes, wrong):
    for line in wrong:
        console.print(ascii(line), highlight=False, markup=False)
    limits = f"{odd_images.MEAN:g}, {odd_images.SPREAD:g} and {odd_images.PIXELS:g} of 255 levels"
    title = f"Images and folders; limits of mean, spread and pixels: {limits}"
    table = new_table(title, ["Kind"], ["Kept", "Refused by name", "Wrong"])
    total = Counter()
    for kind, counts in sorted(outcomes.items()):
        total += counts
        table.add_row(kind, *(str(counts[name]) for name in ("kept", "refused", "wrong")))
    table.add_row("all", *(str(total[name]) for name in ("kept", "refused", "wrong")))
    console.print(table)
    print(json.dumps({"cases": total.total(), **total, "wrong_cases": wrong}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
