"""Tables with others' measurements are read whole, or refused with file and row."""

import io
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greencv_core.published.problems import LINES, listed_problems
from greencv_core.published.table_format import EVIDENCE_COLUMNS, MISSING, REQUIRED
from greencv_core.published.table_reading import check_table, read_table, table_csv
from greencv_core.published.tables import count_devices
from greencv_core.utils.errors import BadInputError

HEADER = ",".join(REQUIRED)
GOOD = f"{HEADER}\nlab,resnet18,a,12.5,measured\nlab,resnet50,a,50,measured\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.csv"


def problems_of(path, text):
    path.write_text(text)
    lines = listed_problems(path.name, check_table(path))
    if lines:
        with pytest.raises(BadInputError) as refused:
            read_table(path)
        assert refused.value.exit_code == 2
        assert str(refused.value).count("\n") == len(lines) - 1
    return lines


def with_columns(columns, *rows):
    lines = [f"lab,net{place},a,12.5,measured,{row}" for place, row in enumerate(rows)]
    return "\n".join([f"{HEADER},{columns}", *lines]) + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_table_is_read_from_any_text_file(path, encoding, separator, ending):
    path.write_bytes(GOOD.replace(",", separator).replace("\n", ending).encode(encoding))
    table = read_table(path)
    assert list(table) == list(EVIDENCE_COLUMNS)
    assert table["energy_j"].tolist() == [12.5, 50.0]
    assert table["run_id"].tolist() == ["lab/1", "lab/2"]
    assert (table["left_out"] == "").all()


def test_energy_per_image_is_computed_where_it_is_absent(path):
    path.write_text(with_columns("images_processed,energy_j_per_image", "5,", "5,2.5", ","))
    assert read_table(path)["energy_j_per_image"].tolist()[:2] == [2.5, 2.5]
    assert np.isnan(read_table(path)["energy_j_per_image"][2])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GOOD.replace("energy_j", "Energy (J)"), "row 1: unknown column 'Energy (J)'; did you mean "
         "energy_j?"),
        (GOOD.replace("environment", "enviroment"), "row 1: unknown column 'enviroment'; did you "
         "mean environment?"),
        (GOOD.replace("energy_j", "energy_kwh"), "row 1: unknown column 'energy_kwh'; did you mean "
         "energy_j (1 kWh is 3.6e6 J)?"),
        (GOOD.replace("provenance", "note"), "row 1: no column 'provenance': required"),
        (GOOD.replace("12.5", "-12.5"), "row 2: energy_j must be above zero (a run takes energy): "
         "'-12.5'"),
        (GOOD.replace("50,", "0,"), "row 3: energy_j must be above zero (a run takes energy): '0'"),
        (GOOD.replace(",50,", ",,"), "row 3: no energy_j"),
        (GOOD.replace(",50,", ",inf,"), "row 3: energy_j is not a number: 'inf'"),
        (GOOD.replace(",50,", ",1e999,"), "row 3: energy_j is not a number: '1e999'"),
        (GOOD.replace("resnet50,a,50,measured", "resnet18,a,12.5,measured"),
         "row 3: the run of row 2 again (every value the same)"),
        (GOOD.replace("50,measured", "50,sampled"), "row 3: source 'lab' mixes provenances: "
         "measured (row 2) and sampled (row 3); name a source for each"),
        (GOOD.replace("50,measured", "50,meassured"), "row 3: provenance must be measured, "
         "sampled, estimated or published: 'meassured'"),
        (with_columns("images_processed,dataset", "1000,x", "0.01,x"),
         "row 3: images_processed is not a whole number: '0.01'"),
        (with_columns("energy_j_per_image", "1.5", "1000.5"),
         "row 3: energy_j_per_image must be at most 1,000 J/image (is energy_j in joules, and "
         "images_processed of all epochs?): '1000.5'"),
        (with_columns("images_processed,energy_j_per_image", "10,1.25", "10,125"),
         "row 3: energy_j_per_image is 125, but energy_j / images_processed is 1.25"),
        (with_columns("duration_s,hardware", "0.001,8x V100", "0.001,V100"),
         "row 3: 12,500 W for 1 device cannot be (is energy_j in joules, duration_s in seconds, "
         "the number of devices in hardware?)"),
        (with_columns("correctness", "0.9", "91.5"),
         "row 3: correctness must be at most 1 (a share, not a percentage): '91.5'"),
        (with_columns("started_at", "2024-05-31T14:05:00", "yesterday"),
         "row 3: started_at is not a date and time such as 2024-05-31T14:05:00: 'yesterday'"),
        (with_columns("run_id", "one", "one"), "row 3: the run of row 2 again (the same run_id)"),
        (GOOD + "lab,resnet50,b", "row 4: 3 cells, but the header has 5: 'lab,resnet50,b'"),
        (HEADER + "\n", "no row but the header"),
        (HEADER + ",energy_j\nlab,a,b,1,measured,2\n", "row 1: column 'energy_j' is there twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_row(path, text, line):
    lines = problems_of(path, text)
    separator = ": " if line.startswith("no row") else ", "
    assert lines == [f"runs.csv{separator}{line}"]


def test_gflops_of_an_architecture_agree_within_a_data_set(path):
    rows = ["resnet18,1,3.64,cifar", "resnet18,2,1.82,cifar", "resnet18,3,0.1,mnist"]
    text = f"{HEADER},repetition,gflops_per_image,dataset\n" + "".join(
        f"lab,{name},a,{energy},measured,{energy},{gflops},{dataset}\n"
        for name, energy, gflops, dataset in (row.split(",") for row in rows)
    )
    assert problems_of(path, text) == [
        "runs.csv, row 3: resnet18 has 1.82 GFLOPs per image, but 3.64 in row 2 (multiply-adds "
        "count as two operations)"
    ]


def test_a_run_that_is_left_out_may_be_implausible(path):
    text = with_columns("left_out", "", "no power reading").replace("net1,a,12.5", "net1,a,-1")
    assert problems_of(path, text) == []
    assert problems_of(path, text.replace("no power reading", "")) != []


def test_repetitions_of_a_condition_have_numbers_of_their_own(path):
    text = f"{HEADER},repetition\nlab,a,b,1,measured,0\nlab,a,b,2,measured,1\n"
    assert problems_of(path, text) == []
    assert problems_of(path, text.replace("measured,1", "measured,0")) == [
        "runs.csv, row 3: the run of row 2 again (the same condition, session and repetition)"
    ]


def test_a_thousand_problems_fit_one_screen(path):
    rows = "".join(f"lab,a{i},b,{-i},mesured\n" for i in range(1, 1001))
    lines = problems_of(path, f"{HEADER}\n{rows}")
    assert len(lines) == 8
    assert lines[3] == ("runs.csv: the same in 997 more rows (5, 6, 7, 8, 9, 10, 11, 12, ...)")
    every = ",".join(name for name in EVIDENCE_COLUMNS if name not in REQUIRED)
    bad = ",".join("x\x01" for _ in every.split(","))
    assert len(problems_of(path, with_columns(every, *[bad] * 9))) <= LINES


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no header"),
        (b"\xff\xfe\x00", "not text in UTF-16"),
        (b"source,architecture\n\xe9,b\n", "line 2: not text in UTF-8"),
        (b"PK\x03\x04\x00\x00", "this is not a text file"),
    ],
)
def test_what_is_not_text_is_refused(path, content, words):
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        check_table(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInputError, match=r"nosuch\.csv: cannot be read: No such file"):
        read_table(tmp_path / "nosuch.csv")
    with pytest.raises(BadInputError, match="cannot be read: Is a directory"):
        read_table(tmp_path)


TEXTS = (
    st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")),
            min_size=1, max_size=12)
    .filter(lambda text: text not in MISSING)
)  # fmt: skip


def values_of(field):
    if field.allowed:
        return st.just("measured")
    if field.name == "started_at":
        return st.datetimes().map(lambda moment: moment.isoformat())
    if field.name in ("run_id", "repetition"):
        return st.none()  # given below
    if field.kind == "string":
        return TEXTS if field.required else st.none() | TEXTS
    if field.name == "energy_j":
        return st.floats(1e-3, 100)
    if field.name in ("energy_j_per_image", "gflops_per_image", "left_out"):
        return st.none()
    low = max(field.minimum or 0, 1 if field.kind == "integer" else 1e-3)
    if field.name == "duration_s":
        low = 1.0
    high = field.maximum or 1e6
    if field.kind == "integer":
        return st.none() | st.integers(int(low), int(high))
    return st.none() | st.floats(low, high)


ROWS = st.lists(
    st.fixed_dictionaries({name: values_of(field) for name, field in EVIDENCE_COLUMNS.items()}),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["started_at"],  # or it would be one run twice
)
FEWER = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FEWER
@given(rows=ROWS)
def test_a_table_that_greencv_wrote_reads_back_equal(path, rows):
    table = pd.DataFrame(rows).reindex(columns=list(EVIDENCE_COLUMNS))
    table["run_id"] = [f"run {place}" for place in range(len(rows))]
    table["repetition"] = range(len(rows))
    path.write_text(table_csv(table), encoding="utf-8")
    read = read_table(path)
    expected = table.assign(
        energy_j_per_image=table["energy_j"] / table["images_processed"].astype(float),
        left_out=table["left_out"].fillna(""),
        correctness_left_out=table["correctness_left_out"].fillna(""),
    )
    pd.testing.assert_frame_equal(
        read.astype(object).where(read.notna(), None),
        expected.astype(object).where(expected.notna(), None),
        check_dtype=False,
    )
    path.write_text(table_csv(read), encoding="utf-8")
    pd.testing.assert_frame_equal(read_table(path), read)


@FEWER
@given(data=st.data())
def test_a_damaged_table_is_read_or_refused_in_words(path, data):
    content = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(max_size=3) | st.sampled_from(string.punctuation + "\n\r\0"))
        content[place : place + data.draw(st.integers(0, 3))] = (
            new if isinstance(new, bytes) else new.encode()
        )
        if not content:
            break
    path.write_bytes(bytes(content))
    try:
        table = read_table(path)
    except BadInputError as error:
        refused = str(error).splitlines()
        table = pd.read_csv(io.StringIO(GOOD))
    else:
        refused = []
    assert all(str(path) in line for line in refused)
    assert len(refused) <= LINES
    assert (table["energy_j"] > 0).all()
    assert table[list(REQUIRED)].notna().all(axis=None)


def test_a_run_by_another_name_is_known_by_its_start_energy_and_correctness(path):
    columns = "source,architecture,environment,provenance,energy_j,correctness,correctness_name"
    again = "measured,10,0.9,accuracy"
    rows = (f"lab,a,e,{again},one,2024-05-31T14:05:00", f"lab,b,e,{again},two,2024-05-31T14:05:00")
    path.write_text("\n".join([f"{columns},run_id,started_at", *rows]))
    [problem] = check_table(path)
    assert problem.text == "the run of row 2 again (the same start, energy and correctness)"
    path.write_text(path.read_text().replace("T14:05:00", ""))  # a day says too little
    assert check_table(path) == []


def test_devices_are_counted_by_the_number_before_the_x():
    texts = [
        "8x A100",
        "8x-A100",
        "8xA100",
        "4 x H100",
        " 2x T4",
        "RTX 5000",
        "0x A100",
        "2x86",
        None,
    ]
    assert count_devices(pd.Series(texts)).tolist() == [8, 8, 8, 4, 2, 1, 1, 1, 1]
