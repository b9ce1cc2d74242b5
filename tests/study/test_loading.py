"""Study files: what is wrong is said in one line; the plan is fixed and complete."""

import re

import pytest

from greencv_core.records.source import load_study
from greencv_core.study.loading import dump_study, parse_study, validate_study
from greencv_core.study.plan import plan
from greencv_core.study.schema import EnvironmentSpec
from tests.conftest import ROOT, greencv_here
from tests.support.refusals import one_line, refusal
from tests.support.studies import smoke_study

ONE = [EnvironmentSpec(name="one", device="cpu", threads=1)]
TWO = [*ONE, EnvironmentSpec(name="two", device="cpu", threads=2)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"protocol__epochs": -3}, ["protocol.epochs = -3", "greater than or equal to 1"]),
        ({"protocol__epochs": "many"}, ["protocol.epochs = many", "whole number, in digits only"]),
        ({"protocol__epochs": None}, ["protocol.epochs", "missing"]),
        ({"protocol__epoch": 3}, ["protocol.epoch = 3", "unknown field", "epochs"]),
        ({"colour": "green"}, ["colour = green", "unknown field", "architectures"]),
        ({"protocol__optimizer": "lion"}, ["protocol.optimizer = lion", "'adamw'"]),
        ({"protocol__batch_size": 4096}, ["protocol.batch_size = 4096", "train_images"]),
        ({"environments": []}, ["environments"]),
        ({"environments": "all"}, ["environments = all", "must be auto or a list"]),
        ({"environments__0__device": "tpu"}, ["environments.0.device = tpu", "cpu, cuda"]),
        ({"environments__0__threads": 0}, ["environments.0.threads = 0", "at least 1"]),
        ({"architectures": ["resnet18", "resnet18"]}, ["architectures", "resnet18 named twice"]),
        ({"carbon__country": "Spain"}, ["carbon.country = Spain", "ESP"]),
        (
            {"analysis": {"correctness_margin": 2}},
            ["analysis.correctness_margin = 2", "less than 1"],
        ),
        ({"analysis": {"margin": 0.1}}, ["analysis.margin = 0.1", "unknown", "correctness_margin"]),
        ({"name": "../escape"}, ["name = ../escape", "letters"]),
        ({"protocol__weight_decay": float("inf")}, ["protocol.weight_decay = inf", "finite"]),
        ({"protocol__seed": 2**32}, ["protocol.seed = 4294967296", "less than"]),
    ],
)
def test_a_bad_field_is_one_line_with_file_value_and_what_is_allowed(tmp_path, changes, expected):
    path = smoke_study(tmp_path, **changes)
    message = refusal(load_study, path)
    assert message.startswith(f"{path}: ")
    for part in expected:
        assert part in message


def test_a_study_without_a_margin_takes_two_points(tmp_path):
    for given, margin in ((None, 0.02), (0.005, 0.005)):
        path = smoke_study(tmp_path, analysis__correctness_margin=given)
        assert load_study(path).analysis.correctness_margin == margin


NUMBERS = {
    "0128": 128, "0x80": 128, "0o200": 128, "+128": 128, "128.0": "a whole number",
    "1_28": "a whole number", "1:28": "a whole number", "0b1": "a whole number",
    "1.280": "a whole number", "0200": 200, "1e2": "a whole number", "NO": "a whole number",
}  # fmt: skip
"""What a person means by what is written, or why it is refused."""


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_what_a_person_reads_or_its_line_is_named(tmp_path, text):
    source = (ROOT / "studies" / "smoke.yaml").read_text()
    changed = re.sub(r"train_images: \d+", f"train_images: {text}", source)
    line = 1 + changed[: changed.index("train_images")].count("\n")
    path = tmp_path / "study.yaml"
    path.write_text(changed)
    if isinstance(NUMBERS[text], int):
        assert load_study(path).dataset.train_images == NUMBERS[text]
    else:
        message = refusal(load_study, path)
        assert message.startswith(f"{path}: line {line}: dataset.train_images = ")
        assert NUMBERS[text] in message


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("idle_s: 1.0", "nesterov: no", "line 16: protocol.nesterov = no: must be true or false"),
        ("idle_s: 1.0", "idle_s: 1:30", "line 16: protocol.idle_s = 1:30: must be a number"),
        ("threads: all", "threads: 1_0", "line 8: environments.1.threads = 1_0: must be a whole"),
        ("country: ESP", "country: NO", "line 19: carbon.country = NO: must match a country code"),
        ("shufflenet_v2_x0_5", "0777", "line 5: architectures.0 = 777: must be text; put it in"),
    ],
)
def test_what_only_yaml_1_1_reads_is_refused_with_its_line(tmp_path, old, new, problem):
    path = tmp_path / "study.yaml"
    path.write_text((ROOT / "studies" / "smoke.yaml").read_text().replace(old, new))
    assert f"{path}: {problem}" in refusal(load_study, path)


def test_a_study_is_written_so_that_its_words_stay_words():
    content = load_study("smoke").model_dump(mode="json")
    words = ["08", "0o17", "1_0", "1e3", "no", "1:30", "0x1F", "n", "2026-02-30", "=", "<<", "~"]
    content["dataset"]["classes"] = {word: [f"of {word}", word] for word in words}
    study = validate_study(content, "study")
    assert parse_study(dump_study(study), "study") == study


@pytest.mark.parametrize("text", ["2e-3", "2.0e-3", "0.002", "2E-3"])
def test_a_number_may_have_an_exponent(tmp_path, text):
    source = (ROOT / "studies" / "smoke.yaml").read_text()
    path = tmp_path / "study.yaml"
    path.write_text(source.replace("learning_rate: 0.002", f"learning_rate: {text}"))
    assert load_study(path).protocol.learning_rate == 0.002


def test_an_absent_file_names_the_known_studies(tmp_path):
    text = refusal(load_study, tmp_path / "absent.yaml")
    assert re.search("no such study file.*quick, reference, smoke", text)


@pytest.mark.parametrize(
    ("command", "changes", "expected"),
    [
        ("plan", {"architectures": ["resnet81"]}, "did you mean resnet18"),
        ("run", {"architectures": ["resnet81"]}, "did you mean resnet18"),
        ("run", {"protocol__epochs": -1}, "protocol.epochs = -1"),
        ("run", {"dataset__name": "imagenot"}, "unknown data set; known: digits"),
        ("run", {"dataset__validation_images": 5}, "must be at least 10, one image for each class"),
        ("run", {"dataset__train_images": 5000}, "digits has 1797 images"),
        (
            "run",
            {"environments": [{"name": "x", "device": "cuda:7"}]},
            "not on this machine; here: cpu",
        ),
        (
            "plan",
            {"environments": [{"name": "x", "device": "cpu", "threads": 4096}]},
            "this machine has",
        ),
        ("plan", {"carbon__country": "XXX"}, "no carbon intensity known"),
    ],
)
def test_the_command_refuses_bad_studies_and_writes_nothing(tmp_path, command, changes, expected):
    store, path = tmp_path / "store", smoke_study(tmp_path, **changes)
    text = one_line(greencv_here(command, path, "--store", store), longest=800)
    assert str(path) in text
    assert expected in text
    assert not store.exists()


def test_quick_spans_a_factor_of_thirty_in_gflops():
    from greencv_core.architectures.build import build, gflops_per_image

    study = load_study("quick")
    gflops = [
        gflops_per_image(build(name, 10, study.dataset.image_size).module, study.dataset.image_size)
        for name in study.architectures
    ]
    assert len(gflops) == 5
    assert max(gflops) / min(gflops) >= 30
    assert study.protocol.repetitions >= 5


def test_plan_holds_every_condition_once_in_each_block():
    study = load_study("quick")
    runs = plan(study, TWO, "machine")
    size = len(study.architectures) * 2
    assert len(runs) == size * study.protocol.repetitions
    orders = []
    for repetition in range(study.protocol.repetitions):
        block = runs[repetition * size : (repetition + 1) * size]
        assert {run.repetition for run in block} == {repetition}
        assert len({run.condition for run in block}) == size
        assert {run.seed for run in block} == {study.protocol.seed + repetition}
        orders.append(tuple(run.condition for run in block))
    assert len(set(orders)) > 1
    assert [run.run_id for run in runs] == [run.run_id for run in plan(study, TWO, "machine")]
    assert len({run.run_id for run in runs}) == len(runs)


def test_a_run_is_identified_by_what_decides_its_outcome():
    study = load_study("smoke")
    first = plan(study, ONE, "machine")[0]
    more = study.model_copy(
        update={"protocol": study.protocol.model_copy(update={"repetitions": 9})}
    )
    longer = study.model_copy(update={"protocol": study.protocol.model_copy(update={"epochs": 9})})

    def ids(s, machine="machine"):
        return {run.run_id for run in plan(s, ONE, machine)}

    assert first.run_id in ids(more)
    assert first.run_id not in ids(longer)
    assert first.run_id not in ids(study, "another machine")


def test_a_part_of_the_study_keeps_the_order_of_the_whole():
    study = load_study("quick")
    part = plan(study, TWO, "m", architectures=["resnet18"])
    whole = [run for run in plan(study, TWO, "m") if run.architecture == "resnet18"]
    assert part == whole
