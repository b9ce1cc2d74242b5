"""Files of CodeCarbon and nvidia-smi become tables, or are refused with file and place."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greencv_core.published.imports.codecarbon import import_codecarbon
from greencv_core.published.imports.facts import Facts
from greencv_core.published.imports.nvidia_smi import import_nvidia_smi
from greencv_core.published.problems import LINES
from greencv_core.published.seaa2023.nvidia_smi import read_log
from greencv_core.published.table_reading import read_table, table_csv
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.errors import BadInputError

PUBLISHED = Path(os.environ["GREENCV_DATA"])
FACTS = Facts("resnet18", "lab", "own")

V1 = "timestamp,experiment_id,project_name,duration,emissions,energy_consumed,country_name"
V2 = (
    "timestamp,project_name,run_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,"
    "cpu_energy,gpu_energy,ram_energy,energy_consumed,country_name,cpu_model,gpu_count,gpu_model,"
    "tracking_mode,on_cloud,pue"
)
V3 = V2 + ",water_consumed,gpu_utilization_percent,wue"


def of_version_2(
    run="run-1",
    seconds=1000,
    gpu=0.2,
    cpu=0.05,
    pue=1.0,
    model="2 x NVIDIA RTX A6000",
    at="2024-02-09T00:20:00",
):
    ram = 0.01
    parts = f"{pue * cpu},{pue * gpu},{pue * ram},{pue * (cpu + gpu + ram)}"
    return (
        f"{at},resnet18,{run},{seconds},0.1,0.0001,180,700,36,{parts},Norway,Xeon,2,{model},"
        f"machine,N,{pue}"
    )


@pytest.fixture
def emissions(tmp_path):
    def write(header, *rows, name="emissions.csv"):
        path = tmp_path / name
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


def test_version_2_with_two_gpus_is_one_run_in_joules(emissions):
    path = emissions(V2, of_version_2(pue=1.5))
    (run,) = import_codecarbon([path], FACTS)[0].to_dict("records")
    assert run["energy_j"] == pytest.approx(0.26 * J_PER_KWH)
    assert run["provenance"] == "estimated"
    assert run["hardware"] == "2x NVIDIA RTX A6000, Xeon, RAM"
    assert run["started_at"] == "2024-02-09T00:03:20"
    assert run["run_id"] == "run-1"
    gpu = import_codecarbon([path], FACTS, "gpu")[0].iloc[0]
    assert gpu["energy_j"] == pytest.approx(0.2 * J_PER_KWH)
    assert (gpu["provenance"], gpu["hardware"]) == ("measured", "2x NVIDIA RTX A6000")
    amd = emissions(V2, of_version_2(model="2 x AMD Instinct MI250"))
    assert import_codecarbon([amd], FACTS, "gpu")[0]["provenance"][0] == "estimated"


def test_versions_1_and_3_are_read(emissions):
    path = emissions(V1, "2021-10-18T16:29:13,1acf,codecarbon,101.3,0.0039,0.0092,France")
    (run,) = import_codecarbon([path], FACTS)[0].to_dict("records")
    assert run["energy_j"] == pytest.approx(0.0092 * J_PER_KWH)
    assert run["run_id"] == "1acf"
    with pytest.raises(BadInputError, match="row 2: no gpu_energy; this run has the energy of all"):
        import_codecarbon([path], FACTS, "gpu")
    path = emissions(V3, of_version_2() + ",0.1,87.5,0")
    assert import_codecarbon([path], FACTS)[0]["device_utilization_pct"][0] == 87.5


def test_totals_that_a_tracker_flushed_are_not_added_up(emissions):
    rows = [of_version_2(seconds=n * 1000, gpu=0.1 * n) for n in (1, 2, 3)]
    table, notes = import_codecarbon([emissions(V2, *rows, of_version_2("run-2"))], FACTS)
    assert len(table) == 2
    assert table["energy_j"][0] == pytest.approx(0.36 * J_PER_KWH)
    assert any("2 rows passed over" in note for note in notes)
    with pytest.raises(BadInputError, match="row 3: the totals of run run-1 fall"):
        import_codecarbon([emissions(V2, rows[1], rows[0])], FACTS)


def test_runs_of_a_condition_are_numbered_as_they_began(emissions):
    late, early = of_version_2("b", at="2024-02-10T00:00:00"), of_version_2("a")
    table, _ = import_codecarbon([emissions(V2, late, early)], FACTS)
    assert table["repetition"].tolist() == [1, 0]


def test_names_come_from_columns_and_paths(emissions, tmp_path):
    facts = Facts("{model}", "{gpu_model}", "own", path_pattern="{model}-{n}.csv")
    path = emissions(V2, of_version_2(), name="vgg16-3.csv")
    (run,) = import_codecarbon([path], facts)[0].to_dict("records")
    assert (run["architecture"], run["environment"]) == ("vgg16", "2 x NVIDIA RTX A6000")
    with pytest.raises(BadInputError, match=r"--architecture: .*no \{nosuch\}; known: .*\{file\}"):
        import_codecarbon([path], Facts("{nosuch}", "lab", "own"))
    with pytest.raises(BadInputError, match=r"--path-pattern: .* does not end as"):
        import_codecarbon([path], Facts("a", "lab", "own", path_pattern="{model}.log"))


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ((of_version_2(cpu=-0.06),), "row 2: cpu_energy (kWh) is negative, as after a counter's"),
        ((of_version_2(), of_version_2("run-2", seconds=0)), "row 3: duration (s) must be above"),
        ((of_version_2(), of_version_2("b")[:63]), "row 3: 11 cells, but the header has 20"),
        ((of_version_2().replace("0.26", "0.5"),), "row 2: cpu_energy, gpu_energy and ram_energy"),
        ((of_version_2().replace("2024-02", "02/24"),), "row 2: timestamp is not a date and time"),
        ((of_version_2(gpu=900),), "W for 2 devices cannot be"),
        ((), "no row but the header"),
    ],
)  # fmt: skip
def test_a_file_of_codecarbon_is_refused_whole(emissions, rows, line):
    good = emissions(V2, of_version_2("good"), name="good.csv")
    bad = emissions(V2, *rows)
    with pytest.raises(BadInputError) as refused:
        import_codecarbon([good, bad], FACTS)
    assert refused.value.exit_code == 2
    assert str(bad) in str(refused.value)
    assert line in str(refused.value)
    with pytest.raises(BadInputError, match="no file of CodeCarbon: no columns 'timestamp'"):
        import_codecarbon([emissions("a,b", "1,2")], FACTS)


def test_one_run_in_two_files_is_named(emissions):
    paths = [emissions(V2, of_version_2(), name=name) for name in ("a.csv", "b.csv")]
    with pytest.raises(BadInputError, match=r"b\.csv, row 2: run 'run-1' is in .*a\.csv, row 2"):
        import_codecarbon(paths, FACTS)


def test_runs_of_a_node_with_a_counter_that_overflowed_are_noted():
    folder = PUBLISHED / "xu2023" / "grilla" / "results_summary"
    if not folder.is_dir():
        pytest.skip("the published files are not here")
    facts = Facts("{model}", "{gpu_model}", "xu2023", dataset="{data}",
                  path_pattern="out_code_carbon_{data}_{model}_{n}/emissions.csv")  # fmt: skip
    paths = sorted(folder.glob("*/emissions.csv"))
    with pytest.raises(BadInputError) as refused:
        import_codecarbon(paths, facts)
    assert str(refused.value).count("cpu_energy (kWh) is negative") == 2
    table, _ = import_codecarbon(paths, facts, "gpu")
    assert len(table) == 18
    assert (table["repetition"].value_counts() == 6).all()
    assert set(table["hardware"]) == {"8x Tesla V100-SXM2-32GB"}
    sound = [path for path in paths if str(path) not in str(refused.value)]
    _, notes = import_codecarbon(sound, facts)
    assert any("a counter may have overflowed" in note for note in notes)


OWN = (
    "timestamp, name, utilization.gpu [%], utilization.memory [%], memory.total [MiB], "
    "memory.used [MiB], power.draw [W], power.max_limit [W], temperature.gpu"
)
SHORT = "timestamp, index, name, power.draw [W]"
NIGHT = datetime(2023, 12, 31, 23, 59, 57)


def stamp(second):
    return f"{NIGHT + timedelta(seconds=second):%Y/%m/%d %H:%M:%S.%f}"[:-3]


def own(second, power="100.50 W", name="RTX 3070", temperature="60"):
    return (
        f"{stamp(second)}, {name}, 50 %, 30 %, 8192 MiB, 1000 MiB, {power}, 220.00 W, {temperature}"
    )


def short(second, index, power, name="RTX 3070"):
    return f"{stamp(second)}, {index}, {name}, {power} W"


SIX = [own(n) for n in range(6)]
TWO = [line for n in range(6) for line in (short(n, 0, 100), short(n + 0.002, 1, 20))]


@pytest.fixture
def log(tmp_path):
    def write(header, *lines, ending="\n", encoding="utf-8"):
        path = tmp_path / "run.csv"
        path.write_bytes((ending.join([header, *lines]) + ending).encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    ("lines", "energy_j"),
    [
        (SIX, 502.5),
        ([*SIX[:3], own(3, "[N/A]"), *SIX[4:]], 502.5),
        ([*SIX[:3], own(3, "[Unknown Error]"), *SIX[4:]], 502.5),
        ([*SIX[:3], own(3, temperature="[N/A]"), *SIX[4:]], 502.5),
        ([*SIX[:3], OWN, "", *SIX[3:]], 502.5),
        ([line.replace(" W", "").replace(" %", "") for line in SIX], 502.5),
        ([*SIX[:5], SIX[5][:40]], None),
    ],
)
def test_a_log_is_integrated(log, lines, energy_j):
    path = log(OWN, *lines)
    if energy_j is None:  # a logger that was killed
        path.write_bytes(path.read_bytes()[:-1])
        energy_j = 402.0
    (run,) = import_nvidia_smi([path], FACTS)[0].to_dict("records")
    assert run["energy_j"] == pytest.approx(energy_j)
    assert (run["provenance"], run["hardware"]) == ("sampled", "RTX 3070")
    assert run["started_at"] == "2023-12-31T23:59:57.000"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_log_is_read_from_any_text_file(log, encoding, ending):
    table, notes = import_nvidia_smi([log(OWN, *SIX, ending=ending, encoding=encoding)], FACTS)
    assert table["energy_j"].tolist() == pytest.approx([502.5])
    assert notes == []


def test_gpus_are_rows_of_their_own_and_summed_only_when_asked(log):
    path = log(SHORT, *TWO)
    table, notes = import_nvidia_smi([path], FACTS)
    assert table["energy_j"].tolist() == pytest.approx([500, 100])
    assert table["run_id"].tolist() == ["run/0", "run/1"]
    assert "2 GPUs, a row each" in notes[0]
    table, _ = import_nvidia_smi([path], FACTS, sum_gpus=True)
    assert table["energy_j"].tolist() == pytest.approx([600])
    assert table["hardware"].tolist() == ["2x RTX 3070"]
    late = [short(n, 0, 1) for n in range(9)] + [short(n, 1, 1) for n in range(4, 9)]
    with pytest.raises(BadInputError, match=r"run\.csv, line 11: GPU 1 begins 4\.00 s after"):
        import_nvidia_smi([log(SHORT, *late)], FACTS, sum_gpus=True)


@pytest.mark.parametrize(
    ("header", "lines", "words"),
    [
        (OWN, [*SIX[:3], own(3, "100,50 W"), *SIX[4:]], "line 5: 10 values, but the header has 9"),
        (OWN, [*SIX[:3], own(3, "100500 mW"), *SIX[4:]], "line 5: no power in W: '100500 mW'"),
        (OWN, [*SIX[:3], "Unable to determine the device handle", *SIX[3:]], "line 5: 1 value,"),
        (OWN, [*SIX[:3], *[own(n - 3600) for n in (3, 4, 5)]], "line 5: the time is 60.0 minutes"),
        (OWN, [*SIX, own(3600), own(3601)], "line 8: no power for 59.9 minutes before this line"),
        (OWN, [line for line in SIX for _ in (1, 2)], "line 3: a second reading after 0 s"),
        (SHORT.replace(" index,", ""), [line.replace(" 0,", "").replace(" 1,", "") for line in TWO],
         "line 3: a second reading after 0.002"),
        (OWN, [*SIX[:3], *[own(n, name="A100") for n in (3, 4, 5)]],
         "line 5: another device (A100) after the last reading of the one before (RTX 3070)"),
        (SHORT, [short(0, 0, 1), short(1, 0, 1), short(2, 0, 1, "A100")],
         "line 4: another device (A100) than before (RTX 3070)"),
        (OWN, [own(n, "[N/A]") for n in range(3)], "line 2: 0 readings of GPU RTX 3070"),
        (OWN, [own(n, "2500 W") for n in range(3)], "line 2: a power of 2500 W cannot be"),
        (OWN, [*SIX[:2], SIX[2].replace("2023/12", "2023/13")], "line 4: no date and time"),
        (OWN, [*SIX[:2], SIX[2].replace(",", "+01:00,", 1)], "line 4: no date and time"),
        (OWN, [*SIX[:2], SIX[2].replace(".000,", "-01,", 1)], "line 4: no date and time"),
        (OWN.replace("[W]", "[mW]"), SIX, "line 1: power in mW"),
        ("a, b", ["1, 2"], "line 1: no log of nvidia-smi"),
        (OWN, [], "no reading"),
    ],
)  # fmt: skip
def test_what_could_be_summed_wrongly_is_refused(log, header, lines, words):
    path = log(header, *lines)
    with pytest.raises(BadInputError) as refused:
        import_nvidia_smi([path], FACTS)
    assert f"{path}" in str(refused.value)
    assert words in str(refused.value)


def test_a_published_log_gives_what_the_fast_reader_gives():
    logs = sorted((PUBLISHED / "seaa2023" / "raw" / "cloud" / "resnet50").glob("gpu-power-*.csv"))
    if not logs:
        pytest.skip("the published files are not here")
    fast = read_log(logs[0])
    (run,) = import_nvidia_smi(logs[:1], FACTS)[0].to_dict("records")
    assert run["energy_j"] == pytest.approx(np.trapezoid(fast.power_w, fast.time_s), rel=1e-12)
    assert run["hardware"] == fast.device_name
    assert run["device_utilization_pct"] == pytest.approx(fast.utilization_pct.mean())


def test_what_is_imported_is_a_table_that_reads_back(log, emissions, tmp_path):
    path = tmp_path / "table.csv"
    facts = Facts("resnet18", "lab", "own", images_processed=60000, correctness=0.9)
    for table, _ in (
        import_nvidia_smi([log(SHORT, *TWO)], facts),
        import_codecarbon([emissions(V2, of_version_2())], facts),
    ):
        path.write_text(table_csv(table))
        assert read_table(path)["energy_j"].tolist() == table["energy_j"].tolist()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path, data):
    read, text = data.draw(
        st.sampled_from(
            [
                (import_nvidia_smi, "\n".join([OWN, *SIX, ""])),
                (import_nvidia_smi, "\n".join([SHORT, *TWO, ""])),
                (import_codecarbon, "\n".join([V2, of_version_2(), of_version_2("b"), ""])),
            ]
        )
    )
    content = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(max_size=2) | st.sampled_from([b",", b"\n", b"{", b"9", b"-"]))
        content[place : place + data.draw(st.integers(0, 3))] = new
    check_damaged(read, tmp_path / "damaged.csv", bytes(content))


@pytest.mark.parametrize("first", ["\n", " \n", ",,\n"])
def test_a_file_that_begins_with_an_empty_row_has_no_header(tmp_path, first):
    text = "\n".join([V2, of_version_2(), of_version_2("b"), ""])
    path = tmp_path / "damaged.csv"
    path.write_text(first + text[:344] + "," + text[344:])
    with pytest.raises(BadInputError, match="no header"):
        import_codecarbon([path], FACTS)


def check_damaged(read, path, content):
    """Check that a damaged file is read, or refused in a few lines that name it."""
    path.write_bytes(content)
    try:
        table, _ = read([path], FACTS)
    except BadInputError as error:
        refused = str(error).splitlines()
    else:
        refused = []
        assert (table["energy_j"] > 0).all()
    assert all(str(path) in line for line in refused)
    assert len(refused) <= LINES
