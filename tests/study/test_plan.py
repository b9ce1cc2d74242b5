"""The plan of a study: waves, order, seeds and environments."""

from dataclasses import replace

import pytest

from greencv_core.machine.environment import is_environment_of, missing_environments, resolve
from greencv_core.machine.hardware import Accelerator, describe_machine
from greencv_core.records.source import load_study
from greencv_core.study import plan as plan_module
from greencv_core.study.plan import plan
from greencv_core.study.schema import EnvironmentSpec
from tests.conftest import greencv_here
from tests.support.refusals import refusal
from tests.support.studies import smoke_study

SMOKE = load_study("smoke")


def with_protocol(study, **changes):
    return study.model_copy(update={"protocol": study.protocol.model_copy(update=changes)})


WAVES = [["cpu-all-threads"], ["cpu-1-thread"]]


def test_every_repetition_of_a_wave_is_made_before_the_next_wave():
    here = resolve(SMOKE, describe_machine())
    names = [spec.name for spec in here]
    assert names == [name for wave in reversed(WAVES) for name in wave]
    runs = plan(with_protocol(SMOKE, waves=WAVES), here, "m")
    half = len(runs) // 2
    assert {run.environment.name for run in runs[:half]} == {"cpu-all-threads"}
    assert {run.environment.name for run in runs[half:]} == {"cpu-1-thread"}
    assert [run.repetition for run in runs[:half]] == sorted(r.repetition for r in runs[:half])
    assert [run.order for run in runs] == list(range(len(runs)))
    assert {run.run_id for run in runs} == {run.run_id for run in plan(SMOKE, here, "m")}


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([["cpu-1-thread"]], "protocol.waves: cpu-all-threads in no wave: name each"),
        ([*WAVES, ["cpu-1-thread"]], "protocol.waves: cpu-1-thread named twice: name each"),
        ([*WAVES, ["gpu"]], "protocol.waves: gpu not among the environments"),
        ([[], *WAVES], "protocol.waves.0 = []"),
        ([], "protocol.waves = []"),
    ],
)
def test_waves_hold_each_environment_once(tmp_path, waves, expected):
    assert expected in refusal(load_study, smoke_study(tmp_path, protocol__waves=waves))


def test_waves_name_environments_that_the_study_lists(tmp_path):
    path = smoke_study(tmp_path, environments="auto", protocol__waves=WAVES)
    assert "waves: environments = auto has none to name" in refusal(load_study, path)


def test_order_and_seeds_of_the_original_study():
    here = resolve(SMOKE, describe_machine())
    listed = plan(with_protocol(SMOKE, order="listed", seeds="same"), here, "m")
    blocks = plan(SMOKE, here, "m")
    assert [(r.architecture, r.repetition) for r in listed[:4]] == [
        ("shufflenet_v2_x0_5", 0), ("shufflenet_v2_x0_5", 1),
        ("squeezenet1_1", 0), ("squeezenet1_1", 1),
    ]  # fmt: skip
    assert {r.seed for r in listed} == {SMOKE.protocol.seed}
    assert len({r.run_id for r in listed}) == len(listed) == len(blocks)
    # The first repetition has the same seed either way, and is the same run.
    first = {r.run_id for r in listed if r.repetition == 0}
    assert first == {r.run_id for r in blocks if r.repetition == 0}


def test_the_batch_size_of_an_environment_overrides_the_protocols():
    spec = EnvironmentSpec(name="small", device="cpu", threads=1, batch_size=16)
    [run, *_] = plan(SMOKE, [spec], "m")
    assert run.protocol.batch_size == 16
    [other, *_] = plan(SMOKE, [spec.model_copy(update={"batch_size": None})], "m")
    assert other.protocol.batch_size == SMOKE.protocol.batch_size
    assert run.run_id != other.run_id


def study_of(*specs):
    return SMOKE.model_copy(update={"environments": list(specs)})


def test_environments_missing_on_this_machine_are_skipped():
    machine = replace(describe_machine(), accelerators=())
    study = study_of(
        EnvironmentSpec(name="here", device="cpu", threads=1),
        EnvironmentSpec(name="card", device="cuda", precision="bf16"),
        EnvironmentSpec(name="many", device="cpu", threads=4096),
        EnvironmentSpec(name="half", device="cpu", precision="fp16"),
    )
    assert [spec.name for spec in resolve(study, machine)] == ["here"]
    assert missing_environments(study, machine) == [
        "environment card: device = cuda: not on this machine; here: cpu",
        f"environment many: threads = 4096: this machine has {machine.cpu_count} CPUs",
        "environment half: precision = fp16: a CPU trains in fp32 or bf16",
    ]


def test_device_auto_is_the_first_gpu_that_can_be_metered_else_the_cpu():
    asked = EnvironmentSpec(name="machine", device="auto", precision="tf32")
    bare = replace(describe_machine(), accelerators=())
    [here] = resolve(study_of(asked), bare)
    assert (here.device, here.precision) == ("cpu", "fp32")
    cards = (
        Accelerator("cuda:0", "a card", "GPU-0", 2**34, bf16=True, unmetered="no meter"),
        Accelerator("cuda:1", "a card", "GPU-1", 2**34, bf16=True),
    )
    [there] = resolve(study_of(asked), replace(bare, accelerators=cards))
    assert (there.device, there.precision) == ("cuda:1", "tf32")
    old = replace(cards[1], bf16=False)
    [then] = resolve(study_of(asked), replace(bare, accelerators=(old,)))
    assert (then.device, then.precision) == ("cuda:1", "fp32")
    assert all(is_environment_of(level, study_of(asked)) for level in (here, there, then))
    assert not is_environment_of(here.model_copy(update={"name": "other"}), study_of(asked))
    assert not is_environment_of(here.model_copy(update={"compile": True}), study_of(asked))


def test_a_study_without_an_environment_here_exits_with_2(tmp_path):
    environments = [
        {"name": "a", "device": "cpu", "threads": 4096},
        {"name": "b", "device": "cpu", "precision": "fp16"},
    ]
    path = smoke_study(tmp_path, environments=environments)
    for command in ("plan", "run"):
        done = greencv_here(command, path, "--store", tmp_path / "store")
        assert done.returncode == 2
        assert [line.split(": ")[2] for line in done.stderr.splitlines()] == [
            "environment a", "environment b",
        ]  # fmt: skip


def test_a_wall_meter_changes_no_run_id():
    here = resolve(SMOKE, describe_machine())
    metered = SMOKE.model_copy(update={"wall_meter": "http://192.168.1.5/status"})
    runs = plan(metered, here, "m")
    assert [run.run_id for run in runs] == [run.run_id for run in plan(SMOKE, here, "m")]
    assert {run.wall_meter for run in runs} == {"http://192.168.1.5/status"}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            "http://admin:letmein@192.168.1.5/status",
            "contains a password, which would be published",
        ),
        ("http://192.168.1.5/cm?user=a&password=letmein&cmnd=Status%208", "contains a password"),
        ("ipmitool dcmi power reading", "wall_meter"),  # a study file runs no commands
        ("file:///etc/passwd", "wall_meter"),
    ],
)
def test_a_wall_meter_of_a_study_is_an_address_without_a_password(tmp_path, place, expected):
    assert expected in refusal(load_study, smoke_study(tmp_path, wall_meter=place))


def test_run_ids_of_arrays_stay_and_those_of_image_files_have_a_revision(monkeypatch):
    here = [EnvironmentSpec(name="cpu", device="cpu", threads=1)]
    run = plan(with_protocol(SMOKE, waves=None), here, "m")[0]
    assert run.run_id == "0cd50c0541cd737b"
    of_files = replace(run, dataset=run.dataset.model_copy(update={"name": "imagefolder:x"}))
    before = run.run_id, of_files.run_id
    monkeypatch.setattr(plan_module, "FILES_REVISION", 1000)
    assert [run.run_id == before[0], of_files.run_id == before[1]] == [True, False]
