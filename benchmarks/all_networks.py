"""Which networks train a step at an image size, and which are refused, with which sizes.

    .venv/bin/python benchmarks/all_networks.py [SIZE]

Tries every name of torchvision's classifiers and of the original study, and the shortest name of
each timm family, from random weights; then those of timm as with ImageNet weights, which some fit
to one size. Nothing is downloaded. Fails if a refusal is in a library's words, or if the layers
that depend on the number of classes are not those that are called the last. Takes about ten
minutes on one core. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import json
import sys

import timm
from rich.console import Console

from benchmarks.output import new_table, show_progress
from greencv_core.architectures.build import architecture_names
from tests.support.networks import outcome

SIZE = 32
console = Console(width=160)


def main():
    size = int(sys.argv[1]) if sys.argv[1:] else SIZE
    families = [timm.list_models(module=module) for module in timm.list_modules()]
    of_timm = [f"timm:{min(f, key=lambda name: (len(name), name))}" for f in families if f]
    cases = {
        "torchvision and the original, none": (architecture_names(), "none"),
        "timm, none": (of_timm, "none"),
        "timm, imagenet": (of_timm, "imagenet"),
    }
    answers, refusals = {}, {}
    for case, (names, weights) in cases.items():
        found = {}
        for place, name in enumerate(names, 1):
            show_progress(f"{case}: {place} of {len(names)}: {name}")
            found[name] = outcome(name, size, weights)
        refusals[case] = {name: text for name, text in found.items() if text != "trains"}
        answers[case] = {"names": len(names), "refused": len(refusals[case])}
    show_progress("")
    for case, refused in refusals.items():
        for text in refused.values():
            console.print(f"{case}: {text}", highlight=False, soft_wrap=True)
    table = new_table(f"Images of {size} pixels", ["Names, weights"], ["Train a step", "Refused"])
    for case, answer in answers.items():
        table.add_row(case, str(answer["names"] - answer["refused"]), str(answer["refused"]))
    console.print(table)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
