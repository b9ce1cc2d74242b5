"""Names and units for people."""

import pandas as pd
import pytest

from greencv_core.architectures.build import architecture_names
from greencv_core.machine.environment import AUTO_NAMES
from greencv_core.report import show_table
from greencv_core.report.exhibits.labels import axis_label, people_name, with_names
from greencv_core.utils.text import listed, number, percent, with_unit
from tests.support.tables import made_up_runs


@pytest.mark.parametrize(
    ("machine_id", "name"),
    [
        ("shufflenet_v2_x1_0 @ cpu-all-threads", "ShuffleNet V2 1.0x, all threads"),
        ("resnet18", "ResNet-18"),
        ("vgg16 @ Cloud", "VGG16, Cloud"),
        ("regnet_y_1_6gf @ cuda-bf16", "RegNetY-1.6GF, GPU BF16"),
        ("paper:nasnet_mobile", "NASNet Mobile (Keras)"),
        ("imagefolder:resnet18", "imagefolder:resnet18"),
        ("net0 @ env0", "net0, env0"),
        ("squeezenet1_10", "squeezenet1_10"),
    ],
)
def test_people_name(machine_id, name):
    assert people_name(machine_id) == name


def test_names_stay_distinct():
    """No two architectures or environments have the same name."""
    names = [name for name in architecture_names() if "/" not in name]
    shown = list(map(people_name, [*names, *AUTO_NAMES]))
    assert len(set(shown)) == len(shown)
    assert sum(a != b for a, b in zip(names, shown, strict=False)) > 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "vgg16 @ cpu-1-thread, runs/vgg16.json, Xeon(R) CPU @ 2.20GHz",
            "VGG16 (one thread), runs/vgg16.json, Xeon(R) CPU @ 2.20GHz",
        ),
        (
            "resnet18 @ cpu-all-threads uses 3% less. vgg16 @ fp32-batch-64 uses more.",
            "ResNet-18 (all threads) uses 3% less. VGG16 (FP32 batch 64) uses more.",
        ),
        (
            "resnet50 @ Local ML beats resnet50 @ cloud.",
            "ResNet-50 (Local ML) beats ResNet-50, cloud.",
        ),
        ("vgg16 @ cpu-1-thread", "VGG16, one thread"),
        ("vgg16 @ Local ML", "VGG16, Local ML"),
        ("vgg16 uses least", "VGG16 uses least"),
        ("resnet50 @ A40, 100 W", "ResNet-50, A40, 100 W"),
    ],
)
def test_names_in_a_sentence(text, shown):
    assert with_names(text) == shown


def test_a_table_shows_both_and_its_file_the_id():
    runs = pd.DataFrame({"architecture": ["resnet18"], "energy_j_per_image": [0.0026]})
    table = show_table(runs, "Energy", "estimated")
    assert 'ResNet-18\n<small class="gcv-id">resnet18</small>' in table.body
    assert "Energy per image (mJ, estimated)" in table.body
    assert ">2.60<" in table.body
    assert table.files["csv"].decode().splitlines()[1] == "resnet18,0.0026"


def test_small_units():
    runs = made_up_runs()
    runs["energy_j_per_image"] /= 100
    assert axis_label(runs, "energy_j_per_image") == "Energy per image (mJ, estimated)"
    assert axis_label(runs, "gflops_per_image") == "MFLOPs per image"
    assert with_unit(0.0026, "J") == "2.60 mJ"
    assert with_unit(0.26, "J") == "0.260 J"


def test_one_minus_and_no_space():
    assert (percent(-0.333), number(-12.0)) == ("\N{MINUS SIGN}33.3%", "\N{MINUS SIGN}12.0")
    assert listed(["a, b", "c"]) == "a, b and c"
    assert listed(["a @ b", "c", "d"]) == "a @ b; c; and d"
