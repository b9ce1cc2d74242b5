"""The protocol's choices: stages, stops, weights to start from, order and levels of a study."""

import hashlib
import http.server
import shutil
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
import torchvision
import yaml

from greencv_core import training
from greencv_core.architectures import build
from greencv_core.architectures.weights import classifier_layers
from greencv_core.machine.environment import is_environment_of, missing_environments, resolve
from greencv_core.machine.hardware import Accelerator, describe_machine
from greencv_core.metering import MeterError
from greencv_core.records.select import disambiguate_environments, sort_records
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.records.tables import runs_table
from greencv_core.run.collect import collect
from greencv_core.run.planning import plan_here
from greencv_core.run.stop_rules import BudgetLimit
from greencv_core.study.plan import plan
from greencv_core.study.schema import (
    Augmentation,
    Budget,
    Dataset,
    EarlyStopping,
    EnvironmentSpec,
    Plateau,
    Protocol,
    Stage,
    Target,
)
from greencv_core.utils.errors import BadInputError
from tests.conftest import ROOT, greencv_here
from tests.training.test_training import CPU, DATA, loaded

SMOKE = load_study("smoke")


def protocol(**changes):
    settings = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "repetitions": 1}
    return Protocol(**{**settings, **changes})


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
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = training.train(model, data, settings, CPU, seed=1, **options)
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    return model, history, changed


FROZEN = Stage(epochs=1, learning_rate=0.01)


def test_a_frozen_stage_trains_the_last_layers_alone():
    seen = []

    def look(epoch):
        seen.append({name for name, value in model.state_dict().items() if name in before
                     and not torch.equal(value, before[name])})  # fmt: skip

    model = small_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, history, changed = trained(protocol(frozen_stage=FROZEN), model, on_epoch=look)
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


def test_a_target_reached_in_the_first_stage_ends_all():
    settings = protocol(frozen_stage=FROZEN, target=Target(value=1e-9))
    history = trained(settings)[1]
    assert (history.ended_by, len(history.epochs)) == ("target", 1)


def test_a_spent_budget_ends_the_training_but_not_after_the_last_epoch():
    asked = []

    def stop(epoch):
        asked.append(epoch.epoch)
        return "budget" if len(asked) == 2 else None

    assert trained(protocol(epochs=5), stop=stop)[1].ended_by == "budget"
    assert asked == [1, 2]
    history = trained(protocol(epochs=1), stop=lambda epoch: "budget")[1]
    assert history.ended_by == "epochs"


class Spending:
    """A window whose energy and time grow by an epoch's at each look; a stand-in for a meter."""

    def __init__(self, *epochs, problems=()):
        self._epochs, self.problems = list(epochs), problems
        self.duration_s = self.energy_j = 0.0

    def read_so_far(self):
        seconds, joules = self._epochs.pop(0)
        self.duration_s += seconds
        self.energy_j += joules
        return self

    @property
    def total(self):
        return self


@pytest.mark.parametrize(
    ("budget", "epochs"),
    [
        (Budget(duration_s=3.0), 3),
        (Budget(duration_s=2.9), 2),
        (Budget(energy_j=50.0), 3),  # 20 + 10 + 10, and the dearest once more would be 60
        (Budget(energy_j=49.0, duration_s=100.0), 2),
        (Budget(energy_j=1000.0, duration_s=2.5), 2),
    ],
)
def test_no_epoch_begins_that_would_exceed_the_budget(budget, epochs):
    limit = BudgetLimit(budget, Spending((1.0, 20.0), (1.0, 10.0), (1.0, 10.0), (1.0, 10.0)))
    trained = 1
    while limit.allows_another_epoch():
        trained += 1
    assert trained == epochs


def test_an_energy_budget_without_a_meter_is_told():
    limit = BudgetLimit(Budget(energy_j=10.0), Spending((1.0, 1.0), problems=("gone",)))
    with pytest.raises(MeterError, match="budget cannot be kept"):
        limit.allows_another_epoch()


def test_the_best_epochs_weights_come_back():
    # A rate that makes things worse after a good beginning.
    rule = EarlyStopping(monitor="validation_loss", patience=3, min_delta=0.0, restore_best=True)
    settings = protocol(optimizer="sgd", momentum=0.0, learning_rate=0.3, epochs=12)
    settings = settings.model_copy(update={"early_stopping": rule})
    data = loaded()
    model, history, _ = trained(settings, data=data)
    losses = [e.validation_loss for e in history.epochs]
    best = losses.index(min(losses))
    assert history.final_epoch == best + 1 < len(losses)
    assert training.evaluate(model, data, CPU)[0] == pytest.approx(losses[best])


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


def test_a_compiled_model_learns_the_same():
    plain_net, model = small_net(), small_net()
    for net in (plain_net, model):
        net[5].p = 0.0  # a compiled net draws what it drops in a way of its own
    plain = trained(protocol(), plain_net)[1]
    model.compile()
    data = loaded()
    settings = protocol(frozen_stage=FROZEN)
    training.warm_up(model, data, settings, CPU)
    compiled = trained(protocol(), model, data)[1]
    assert compiled.epochs[-1].train_loss == pytest.approx(plain.epochs[-1].train_loss, rel=1e-3)


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "vit_b_32", "densenet121"])
def test_the_last_layer_is_what_decides_the_classes(name):
    few, many = (build.build(name, n, 64).module for n in (3, 7))
    mine, other = few.state_dict(), many.state_dict()
    differ = {key for key in mine if mine[key].shape != other[key].shape}
    prefix = next(n for n, layer in few.named_modules() if layer is classifier_layers(few))
    assert differ == {f"{prefix}.weight", f"{prefix}.bias"}


def test_weights_of_a_file_are_loaded_and_hashed(tmp_path):
    source = build.build("squeezenet1_1", 10, 32).module
    path = tmp_path / "squeezenet1_1.pth"
    torch.save(source.state_dict(), path)
    pattern = f"file:{tmp_path}/{{architecture}}.pth"
    same = build.build("squeezenet1_1", 10, 32, pattern)
    for name, value in source.state_dict().items():
        assert torch.equal(same.module.state_dict()[name], value)
    assert same.normalisation == build.IMAGENET
    fewer = build.build("squeezenet1_1", 4, 32, pattern)
    assert torch.equal(fewer.module.features[0].weight, source.features[0].weight)
    assert classifier_layers(fewer.module).out_channels == 4
    assert len(same.weights_sha256) == 64
    assert fewer.weights_sha256 == same.weights_sha256
    assert build.build("squeezenet1_1", 10, 32).weights_sha256 == ""


class Harmful:
    """What a file of pickled objects could do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_of_weights_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "weights.pth"

    def told(name="squeezenet1_1"):
        with pytest.raises(BadInputError) as caught:
            build.build(name, 10, 32, f"file:{path}")
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    assert "no such file" in told()
    path.write_bytes(b"nothing of the kind")
    assert "cannot be read" in told() or "can be read" in told()
    torch.save(Harmful(tmp_path / "harmed"), path)
    assert "can be read" in told()
    assert not (tmp_path / "harmed").exists()
    torch.save(build.build("resnet18", 10, 32).module.state_dict(), path)
    assert "does not fit squeezenet1_1: features.0.weight is absent, and" in told()
    torch.save([1, 2], path)
    assert "state dictionary" in told()


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    source = build.build("squeezenet1_1", 10, 32).module
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    loaded_ = build.build("squeezenet1_1", 10, 32, f"file:{path}").module
    assert torch.equal(loaded_.features[0].weight, source.features[0].weight)


@pytest.fixture
def server(tmp_path):
    """Serve a folder, and yield it and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_imagenet_weights_are_downloaded_and_get_a_new_last_layer(server, tmp_path, monkeypatch):
    folder, address = server
    source = torchvision.models.squeezenet1_1(weights=None)
    torch.save(source.state_dict(), folder / "weights")
    digest = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()[:8]
    (folder / "weights").rename(folder / f"net-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    name = f"net-{digest}.pth"
    from_url = torchvision.models._api.load_state_dict_from_url
    monkeypatch.setattr(
        torchvision.models._api,
        "load_state_dict_from_url",
        lambda url, *a, **options: from_url(f"{address}/{name}", *a, **options),
    )
    built = build.build("squeezenet1_1", 10, 32, "imagenet")
    assert torch.equal(built.module.features[0].weight, source.features[0].weight)
    assert classifier_layers(built.module).out_channels == 10
    assert built.normalisation == build.IMAGENET
    name = "net-00000000.pth"  # not there
    with pytest.raises(BadInputError, match="could not be downloaded: HTTP Error 404"):
        build.build("squeezenet1_1", 10, 32, "imagenet")
    (folder / name).write_bytes(b"changed on the way")
    with pytest.raises(BadInputError, match="could not be downloaded: invalid hash"):
        build.build("squeezenet1_1", 10, 32, "imagenet")


def test_timm_models_can_be_named():
    built = build.build("timm:test_resnet", 10, 64)
    assert built.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    assert classifier_layers(built.module).out_features == 10


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [
        ("paper:vgg61", "none", "did you mean paper:vgg16"),
        ("timm:resnet81", "none", "did you mean timm:resnet"),
        ("keras:vgg16", "none", "unknown library keras; known: torchvision, timm, paper"),
        ("vit_b_16", "imagenet", "for images of 224 pixels; dataset.image_size = 32"),
        ("resnet18", "file:/nowhere/{architecture}.pth", "/nowhere/resnet18.pth: no such file"),
    ],
)
def test_what_cannot_be_built_is_one_line_that_says_what_could(name, weights, told):
    with pytest.raises(BadInputError) as caught:
        build.check_architecture(name, weights, 32)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_compiled_net_meets_nothing_new_after_the_warm_up():
    from torch._dynamo.utils import counters

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch compiles for the CPU with a C++ compiler")
    torch._dynamo.reset()
    counters.clear()
    data, model = loaded(), small_net()
    model.compile(dynamic=False)
    settings = protocol(batch_size=32)
    training.warm_up(model, data, settings, CPU)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled >= 2  # training and validation
    training.train(model, data, settings, CPU, seed=0)
    assert counters["stats"]["unique_graphs"] == compiled


# --- order and levels ------------------------------------------------------------------------


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


def test_waves_keep_the_runs_that_are_made_already():
    here = resolve(SMOKE, describe_machine())
    ids = [
        {run.run_id for run in plan(study, here, "m")}
        for study in (SMOKE, with_protocol(SMOKE, waves=WAVES))
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("waves", "told"),
    [
        ([["cpu-1-thread"]], "protocol.waves: cpu-all-threads in no wave: name each"),
        ([*WAVES, ["cpu-1-thread"]], "protocol.waves: cpu-1-thread named twice: name each"),
        ([*WAVES, ["gpu"]], "protocol.waves: gpu not among the environments"),
        ([[], *WAVES], "protocol.waves.0 = []"),
        ([], "protocol.waves = []"),
    ],
)
def test_waves_hold_each_environment_once(tmp_path, waves, told):
    content = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    content["protocol"]["waves"] = waves
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BadInputError) as refused:
        load_study(path)
    assert told in str(refused.value)


def test_waves_name_environments_that_the_study_lists(tmp_path):
    content = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    content["environments"], content["protocol"]["waves"] = "auto", WAVES
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BadInputError, match=r"waves: environments = auto has none to name"):
        load_study(path)


def test_the_originals_order_and_seeds_can_be_asked_for():
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


def test_a_levels_batch_size_takes_the_protocols_place():
    spec = EnvironmentSpec(name="small", device="cpu", threads=1, batch_size=16)
    [run, *_] = plan(SMOKE, [spec], "m")
    assert run.protocol.batch_size == 16
    [other, *_] = plan(SMOKE, [spec.model_copy(update={"batch_size": None})], "m")
    assert other.protocol.batch_size == SMOKE.protocol.batch_size
    assert run.run_id != other.run_id


def study_of(*specs):
    return SMOKE.model_copy(update={"environments": list(specs)})


def test_a_level_that_the_machine_lacks_is_left_to_another_one():
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


def elsewhere(record, run_of, **changes):
    """Return a record as another machine would have made it."""
    machine = {**record.machine, "fingerprint": "0ther000", **changes}
    run = replace(run_of[record.run_id], machine="0ther000")
    return record.model_copy(
        update={"machine": machine, "run_id": run.run_id, "device_name": "Other(R) CPU X1 @ 3GHz"}
    )


def test_runs_of_another_machine_belong_to_the_study_and_are_told_apart(smoke_records, tmp_path):
    run_of = {run.run_id: run for run in plan_here(SMOKE)[0]}
    store = Store(tmp_path)
    for record in smoke_records:
        store.write(record)
        store.write(elsewhere(record, run_of))
    stale = elsewhere(smoke_records[0], run_of).model_copy(update={"run_id": "0" * 16})
    store.write(stale)  # of settings that are not this study's
    records = collect(SMOKE, store=tmp_path, train=False)
    assert len(records) == 2 * len(smoke_records)
    names = list(dict.fromkeys(record.environment["name"] for record in records))
    assert len(names) == 4
    assert "cpu-1-thread (Other X1)" in names
    assert [name.split(" (")[0] for name in names[:4]] == [
        "cpu-1-thread", "cpu-1-thread", "cpu-all-threads", "cpu-all-threads",
    ]  # fmt: skip
    assert set(runs_table(records)["environment"]) == set(names)


def test_two_machines_of_the_same_kind_are_told_apart_by_fingerprint(smoke_records):
    run_of = {run.run_id: run for run in plan_here(SMOKE)[0]}
    one = smoke_records[0]
    twin = elsewhere(one, run_of).model_copy(update={"device_name": one.device_name})
    names = [record.environment["name"] for record in disambiguate_environments([one, twin])]
    assert names[0] != names[1]
    assert names[1].endswith(", machine 0ther000)")
    assert [r.run_id for r in sort_records(disambiguate_environments([twin, one]), SMOKE)]


def test_a_failed_run_is_named_like_the_others_of_its_machine(smoke_records):
    run_of = {run.run_id: run for run in plan_here(SMOKE)[0]}
    one, two, *_ = (r for r in smoke_records if r.environment["name"] == "cpu-1-thread")
    lost = elsewhere(one, run_of).model_copy(update={"device_name": "", "status": "failed"})
    names = [
        record.environment["name"]
        for record in disambiguate_environments([lost, elsewhere(two, run_of), two])
    ]
    assert names[0] == names[1] == f"{one.environment['name']} (Other X1)" != names[2]


def test_a_single_machines_names_stay_as_they_are(smoke_records):
    assert disambiguate_environments(smoke_records) == smoke_records


def test_a_study_with_no_level_here_says_so_and_exits_with_2(tmp_path):
    content = yaml.safe_load((ROOT / "studies" / "smoke.yaml").read_text())
    content["environments"] = [
        {"name": "a", "device": "cpu", "threads": 4096},
        {"name": "b", "device": "cpu", "precision": "fp16"},
    ]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    for command in ("plan", "run"):
        done = greencv_here(command, path, "--store", tmp_path / "store")
        assert done.returncode == 2
        assert [line.split(": ")[2] for line in done.stderr.splitlines()] == [
            "environment a", "environment b",
        ]  # fmt: skip


def test_synthetic_images_have_no_correctness(smoke_records):
    record = smoke_records[0]
    row = runs_table([record.model_copy(update={"dataset": {"name": "synthetic"}})]).iloc[0]
    assert row["f1_macro"] != row["f1_macro"]
    assert row["energy_j"] == runs_table([record]).iloc[0]["energy_j"]
    with pytest.raises(ValueError, match="no correctness to reach"):
        SMOKE.model_validate(
            SMOKE.model_dump()
            | {
                "dataset": Dataset(name="synthetic", train_images=64, validation_images=32),
                "protocol": SMOKE.protocol.model_copy(update={"target": Target(value=0.9)}),
            }
        )
