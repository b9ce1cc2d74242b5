"""Bundles: the runs of a study in one file, the same on every machine."""

import json
import platform
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from greencv_core import collect, load_study, runs_table
from greencv_core.machine import hardware
from greencv_core.metering import carbon_intensity_gco2e_per_kwh
from greencv_core.records.backends import bundle as bundles
from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.records.pack import LICENCE, pack, write
from greencv_core.records.record import RunRecord
from greencv_core.records.store import Store
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.run.collect import plan_size, run_study
from greencv_core.study import plan as plan_module
from greencv_core.study.plan import plan
from greencv_core.study.schema import EnvironmentSpec
from greencv_core.utils.energy import weakest
from tests.conftest import ROOT, greencv_here
from tests.records.conftest import another_machine, filled, rewritten
from tests.support.made_up_records import planned_record, record, window
from tests.support.refusals import one_line, refusal
from tests.support.studies import smoke_study

REFUSAL = "is a bundle, which is read-only: name a folder"


def made_by(study, machine):
    """Return the records of all runs of a study, made by a machine with one CPU."""
    if study.environments == "auto":
        specs = [EnvironmentSpec(name="cpu-1-thread", device="cpu", threads=1)]
    else:
        specs = [
            spec.model_copy(update={"threads": 1} if spec.threads == "all" else {})
            for spec in study.environments
        ]
    return [planned_record(run) for run in plan(study, specs, machine)]


def packed(study, records, folder):
    """Return the path of a bundle of records."""
    store = filled(folder / "store", records)
    path = folder / f"{study.name}.parquet"
    write(pack(study, store), path)
    return path


def test_a_bundle_holds_each_record_byte_for_byte(smoke_store, smoke_bundle):
    there = {p.stem: p.read_bytes() for p in smoke_store.glob("*.json")}
    store = Store(smoke_bundle)
    assert len(there) == 8
    assert store.run_ids() == sorted(there)
    assert {run_id: store.load_file(run_id).content for run_id in there} == there
    assert [loaded.run_id for loaded in store.records()] == sorted(there)
    assert smoke_bundle.stat().st_size < sum(map(len, there.values()))


def test_packing_again_gives_the_same_bytes(smoke_store, smoke_bundle, tmp_path):
    study = load_study("smoke")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(smoke_store.glob("*.json"), reverse=True):
        shutil.copyfile(path, copy / path.name)
    (copy / "0123456789abcdef.json").write_text(record("0123456789abcdef").model_dump_json())
    written = smoke_bundle.read_bytes()
    assert pack(study, Store(copy)).content == written
    assert pack(load_study(smoke_bundle), Store(smoke_bundle)).content == written


def test_pandas_reads_the_table(smoke_bundle, smoke_records):
    frame = pd.read_parquet(smoke_bundle)
    ours = runs_table(sorted(smoke_records, key=lambda r: r.run_id))
    assert tuple(frame.columns) == tuple(RUNS_COLUMNS)
    for column in set(RUNS_COLUMNS) - {"record"}:
        assert frame[column].isna().tolist() == ours[column].isna().tolist(), column
        assert frame[column].dropna().tolist() == ours[column].dropna().tolist(), column
    assert json.loads(frame["record"][0])["run_id"] == frame["run_id"][0]
    kinds = {str(t): set() for t in pq.read_schema(smoke_bundle).types}
    for field in pq.read_schema(smoke_bundle):
        kinds[str(field.type)].add(RUNS_COLUMNS[field.name].kind)
    assert kinds == {
        "string": {"string"}, "binary": {"string"}, "int64": {"integer"}, "double": {"number"},
        "bool": {"boolean"},
    }  # fmt: skip


def test_metadata_describe_the_bundle(smoke_bundle):
    about = bundles.read_metadata(smoke_bundle)
    assert (about.runs, about.study_name, about.licence) == (8, "smoke", LICENCE)
    assert set(about.columns) == set(RUNS_COLUMNS)
    assert all(about.columns.values())
    written = smoke_bundle.read_bytes()
    assert not any(str(place).encode() in written for place in (ROOT, Path.home()))


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_study_survives_packing(path, tmp_path):
    study = load_study(path)
    assert study.name == path.stem
    bundle = packed(study, made_by(study, "0123abcd")[:3], tmp_path)
    again = load_study(bundle)
    assert again.model_dump() == study.model_dump()
    assert again.where == str(bundle)


def test_failed_and_stopped_runs_are_packed_as_well(tmp_path):
    study = load_study("smoke")
    first, second = made_by(study, "0123abcd")[:2]
    made_thus = [
        first.model_copy(update={"status": "failed", "reason": "out of memory"}),
        second.model_copy(update={"status": "stopped"}),
    ]
    bundle = packed(study, made_thus, tmp_path)
    assert sorted(pd.read_parquet(bundle)["status"]) == ["failed", "stopped"]
    done = greencv_here("book", "--runs", bundle)
    assert done.returncode == 1
    assert "1 run failed.\n1 run stopped.\n" in done.stderr
    assert "no finished run has an energy" in done.stderr


def test_the_runs_commands_read_a_bundle(smoke_store, smoke_bundle, tmp_path):
    for command in (
        ["runs", "list"], ["runs", "list", "--json"], ["runs", "show", "SOME"], ["runs", "export"],
        ["plan", "smoke", "--json"],
    ):  # fmt: skip
        some = sorted(smoke_store.glob("*.json"))[0].stem
        arguments = [some if word == "SOME" else word for word in command]
        from_folder, from_bundle = (
            greencv_here(*arguments, "--store", store) for store in (smoke_store, smoke_bundle)
        )
        assert from_bundle.returncode == 0, from_bundle.stderr
        assert from_bundle.stdout == from_folder.stdout, command
    done = greencv_here("runs", "merge", smoke_bundle, "--store", tmp_path / "merged")
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "8 runs copied")
    for path in smoke_store.glob("*.json"):
        assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()


def test_the_runs_table_of_a_bundle_is_cached(smoke_bundle, monkeypatch):
    frame, damaged = cached_runs_table(Store(smoke_bundle))
    assert (len(frame), damaged) == (8, [])
    monkeypatch.setattr(Store, "load_files", lambda self, run_ids: pytest.fail("read again"))
    again, _ = cached_runs_table(Store(smoke_bundle))
    pd.testing.assert_frame_equal(again, frame)


@pytest.mark.parametrize(
    "command",
    [
        ["run", "smoke", "--store", "BUNDLE"],
        ["run", "smoke", "--store", "BUNDLE", "--scheduler", "tcp://127.0.0.1:9"],
        ["run", "smoke", "--store", "ABSENT"],
        ["book", "smoke", "--store", "BUNDLE"],
        ["runs", "merge", "STORE", "--store", "BUNDLE"],
    ],
    ids=" ".join,
)
def test_commands_write_nothing_into_a_bundle(
    command, smoke_store, smoke_bundle, tmp_path, monkeypatch
):
    # Before anything is planned, downloaded or trained.
    monkeypatch.setattr(hardware, "describe_machine", lambda: pytest.fail("planned"))
    places = {"BUNDLE": smoke_bundle, "STORE": smoke_store, "ABSENT": tmp_path / "new.parquet"}
    before = smoke_bundle.read_bytes()
    line = one_line(greencv_here(*(places.get(word, word) for word in command)))
    assert line.endswith(REFUSAL)
    assert smoke_bundle.read_bytes() == before
    assert not (tmp_path / "new.parquet").exists()


def test_a_bundle_refuses_every_way_to_write(smoke_bundle):
    store = Store(smoke_bundle)
    for call, *arguments in (
        (store.prepare,), (store.check_writable,), (store.check_space,),
        (store.write_file, "a.json", b""), (store.write, record("aa")),
    ):  # fmt: skip
        assert refusal(call, *arguments) == f"{smoke_bundle} {REFUSAL}"


def test_the_runs_of_a_bundle_do_not_depend_on_the_machine(
    smoke_store, smoke_bundle, smoke_records, monkeypatch
):
    def on_this_machine(study):
        records = collect(study, store=smoke_bundle)  # complete: nothing is trained
        return [r.model_dump_json() for r in records], plan_size(study, records, store=smoke_bundle)

    here = on_this_machine(smoke_bundle)
    there = another_machine()
    monkeypatch.setattr(hardware, "describe_machine", lambda: there)
    # A folder's runs do: those of another machine are planned on ours once more.
    assert plan_size("smoke", smoke_records, store=smoke_store) == 16
    for study in (smoke_bundle, "smoke"):
        assert on_this_machine(study) == here
    assert here[1] == len(here[0]) == 8
    monkeypatch.setattr(hardware, "describe_machine", lambda: pytest.fail("described"))
    assert on_this_machine(smoke_bundle) == here


def test_a_bundle_of_several_machines_counts_the_planned_runs(tmp_path):
    study = load_study("smoke")
    incomplete = [*made_by(study, "0123abcd"), *made_by(study, "4567cdef")[:5]]
    bundle = packed(study, incomplete, tmp_path)
    outcome = run_study(load_study(bundle), store=Store(bundle), train=False)
    assert (len(outcome.records), outcome.missing, outcome.trained) == (13, 0, 0)
    assert {r.environment["name"] for r in outcome.records} == {
        f"{name} (machine {machine})"
        for name in ("cpu-1-thread", "cpu-all-threads")
        for machine in ("0123abcd", "4567cdef")
    }
    assert plan_size(bundle, outcome.records) == 16
    some = collect(bundle, store=bundle, architectures=["squeezenet1_1"])
    assert {r.architecture for r in some} == {"squeezenet1_1"}
    line = refusal(lambda: collect(bundle, store=bundle, architectures=["vgg16"]))
    assert line.startswith(f"{bundle}: architectures: vgg16: not in this study")


def test_runs_belong_to_their_bundle_even_if_ids_change(smoke_bundle, monkeypatch):
    monkeypatch.setattr(plan_module, "TRAINING_REVISION", 1000)
    assert len(collect(smoke_bundle, store=smoke_bundle)) == 8


def test_another_study_reads_the_runs_of_a_bundle(smoke_bundle, tmp_path):
    path = smoke_study(tmp_path, carbon__intensity_gco2e_per_kwh=36, protocol__repetitions=1)
    records = collect(path, store=smoke_bundle)
    assert [r.repetition for r in records] == [0] * 4
    for one in records:
        assert one.emissions_gco2e == pytest.approx(one.total.energy_j / 1e5)
    line = refusal(lambda: collect("quick", store=smoke_bundle))
    assert line.startswith(f"{smoke_bundle}: contains no run of ")
    assert line.endswith("it is of study smoke")


def test_each_machine_keeps_its_own_electricity(tmp_path):
    study = load_study("smoke")
    of_machines = {"0123abcd": 56.0, "89abcdef": 660.0}
    records = [
        RunRecord(
            **one.model_dump()
            | {
                "carbon": {"country": "FRA", "intensity_gco2e_per_kwh": grams},
                "carbon_intensity_gco2e_per_kwh": grams,
                "emissions_gco2e": grams,
                "total": window("run", 0.0, 1.0, 3.6e6),
            }
        )
        for machine, grams in of_machines.items()
        for one in made_by(study, machine)
    ]
    both, alone = (
        collect(packed(study, chosen, tmp_path / name), store=tmp_path / name / "smoke.parquet")
        for name, chosen in (("both", records), ("alone", records[: len(records) // 2]))
    )
    assert {r.machine["fingerprint"]: r.emissions_gco2e for r in both} == of_machines
    # Of one machine, the study says what its electricity is.
    assert {round(r.emissions_gco2e) for r in alone} == {
        round(carbon_intensity_gco2e_per_kwh(study.carbon.country))
    }


def test_a_bundle_that_contradicts_its_study_is_refused(tmp_path):
    study = load_study("smoke")
    of_another = study.model_copy(update={"architectures": ["squeezenet1_1"]})
    bundle = packed(study, made_by(study, "0123abcd"), tmp_path)
    rewritten(bundle, about={"study": json.dumps(of_another.model_dump(mode="json"))})
    line = refusal(lambda: collect(bundle, store=bundle))
    assert line.endswith("architecture shufflenet_v2_x0_5 is not part of the bundle's study")
    once = study.protocol.model_copy(update={"repetitions": 1})
    of_once = study.model_copy(update={"protocol": once})
    rewritten(bundle, about={"study": json.dumps(of_once.model_dump(mode="json"))})
    assert refusal(lambda: collect(bundle, store=bundle)).endswith(
        "repetition 2 is not part of the bundle's study"
    )


def test_nothing_to_pack_is_one_line(smoke_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, line in (
        (("quick", "--store", smoke_store), "to pack"),
        (("smoke", "--store", tmp_path / "nowhere"), "no store of runs can be read there"),
        (("smoke", "--store", smoke_store, "-o", "a.txt"), "it must end in .parquet"),
        (("smoke", "--store", tmp_path / "x.parquet"), "this bundle does not exist"),
    ):
        assert line in one_line(greencv_here("bundle", *arguments))
    assert list(tmp_path.glob("*.*")) == []
    Path("taken").touch()
    done = greencv_here("bundle", "smoke", "--store", smoke_store, "-o", "taken/a.parquet")
    assert "cannot be written" in one_line(done, 1)


def test_the_bundle_command_describes_what_it_packed(
    smoke_store, smoke_records, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "store"
    shutil.copytree(smoke_store, store)
    (store / "broken.json").write_text("{")
    done = greencv_here("bundle", "smoke", "--store", store)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"left out: {store / 'broken.json'}: not a JSON file: EOF while parsing an object at "
        "line 1 column 1"
    ]
    first, second = done.stdout.splitlines()
    word = weakest(record.total.components["cpu"].provenance for record in smoke_records)
    assert first.startswith(
        f"smoke.parquet: 8 runs of study smoke by 1 machine; energy {word} in 8 runs"
    )
    assert LICENCE in first
    assert second == "No path in it, and no name of this user or this computer."
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["smoke.parquet"]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"reason": "no file /home/somebody/x.pt"}, "reason: no file /home/somebody/x.pt"),
        ({"problems": ["see C:\\Users\\somebody"]}, "problems: see C:\\Users\\somebody"),
        ({"problems": ["held up by NODE"]}, "problems: held up by NODE"),
        ({"problems": ["held up by nodes, 3 W/m2; https://a.org/b/c"]}, None),
    ],
    ids=["a path", "a drive", "the computer's name", "nothing"],
)
def test_packing_lists_texts_that_identify_the_maker(changed, line, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "NODE")
    study = load_study("smoke")
    made = [one.model_copy(update=changed) for one in made_by(study, "0123abcd")]
    store = filled(tmp_path / "store", made)
    done = greencv_here("bundle", "smoke", "--store", store.where, "-o", tmp_path / "a.parquet")
    assert done.returncode == 0
    expected = [] if line is None else [f"may identify you: {line}"]
    assert done.stderr.splitlines() == expected
    assert ("No path in it" in done.stdout) == (line is None)


def test_the_folder_of_a_study_identifies_the_maker(tmp_path):
    study = load_study("smoke")
    dataset = study.dataset.model_copy(update={"name": "imagefolder:/home/somebody/birds"})
    study = study.model_copy(update={"dataset": dataset})
    store = filled(tmp_path, made_by(study, "0123abcd"))
    assert pack(study, store).identifying_texts == (
        "dataset.name: imagefolder:/home/somebody/birds",
    )


def test_shipped_bundles_are_found_by_their_study(smoke_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "PROJECT_ROOT", tmp_path)
    assert shipped_bundles() == {}
    (tmp_path / "bundles").mkdir()
    shutil.copy(smoke_bundle, tmp_path / "bundles" / "of_ours.parquet")
    shutil.copy(smoke_bundle, tmp_path / "bundles" / bundles.PUBLISHED_BUNDLE)
    assert shipped_bundles() == {"smoke": tmp_path / "bundles" / "of_ours.parquet"}


def test_a_folder_may_have_the_name_of_a_bundle(tmp_path):
    folder = tmp_path / "store.parquet"
    folder.mkdir()
    Store(folder).write(record("aa"))
    assert Store(folder).run_ids() == ["aa"]
    assert (folder / "aa.json").is_file()
