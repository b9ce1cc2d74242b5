"""The bundle of published data: it equals what the adapters derive, and damage gives one line."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from greencv_core import __version__
from greencv_core.analysis import (
    architecture_by_environment,
    break_even,
    compare,
    energy_regression,
    savings_without_loss,
)
from greencv_core.published import DATA_SETS, METER_COMPARISONS, load_adapter
from greencv_core.published.evidence_bundle import (
    KEY,
    manifest_digest,
    pack_evidence,
    read_evidence,
    read_metadata,
    shipped_evidence,
)
from greencv_core.published.seaa2023.corrected import analysed_runs, corrected_runs
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    CORRECTNESS,
    RQ1_ENVIRONMENT,
    SMALLER_GPU,
)
from greencv_core.published.tables import typed
from greencv_core.records.backends.bundle import shipped_bundles
from greencv_core.report.pages.reanalysis_strict import selected
from greencv_core.utils.errors import BadInputError
from tests.conftest import greencv_here

SMALL = [name for name in (*DATA_SETS, *METER_COMPARISONS) if name != "seaa2023"]


@pytest.fixture
def bundle(published_table, tmp_path):
    path = tmp_path / "published.parquet"
    path.write_bytes(
        pack_evidence({name: published_table(name) for name in ("pepr2024", "xu2023")})
    )
    return path


@pytest.mark.parametrize("name", SMALL)
def test_the_project_bundle_has_the_tables_of_today(published_table, name):
    shipped, _ = read_evidence(shipped_evidence(), name)
    pd.testing.assert_frame_equal(shipped, typed(published_table(name)))


def test_the_project_bundle_has_the_original_study_of_today(reanalysis):
    shipped, _ = read_evidence(shipped_evidence(), "seaa2023")
    pd.testing.assert_frame_equal(shipped, typed(corrected_runs(reanalysis)))


def test_the_tables_answer_as_the_logs_do(reanalysis):
    answers = []
    for every in (
        reanalysis.runs(CORRECTED, "none"),
        analysed_runs(read_evidence(shipped_evidence(), "seaa2023")[0]),
    ):
        runs, within, gpus = selected(every)
        results = (
            compare(within, "energy_j_per_image", "architecture"),
            compare(within, CORRECTNESS, "architecture"),
            savings_without_loss(runs, correctness=CORRECTNESS),
            energy_regression(runs),
            architecture_by_environment(gpus),
            break_even(gpus, SMALLER_GPU, RQ1_ENVIRONMENT),
        )
        answers.append([result.sentence() for result in results])
    assert answers[0] == answers[1]
    assert "9 of 10 pairs" in answers[0][0]


def test_the_project_bundle_states_its_sources():
    metadata = read_metadata(shipped_evidence())
    assert metadata["greencv_version"] == __version__
    assert set(metadata["sources"]) == {*DATA_SETS, *METER_COMPARISONS}
    for name, source in metadata["sources"].items():
        assert source["manifest_sha256"] == manifest_digest(name)
        assert source["commit"] == load_adapter(name).CARD.commit
    assert shipped_evidence().stat().st_size < 300_000


def test_the_project_bundle_is_no_bundle_of_runs():
    assert shipped_evidence().is_file()
    assert shipped_evidence() not in shipped_bundles().values()


def test_the_original_study_is_corrected(reanalysis):
    runs = corrected_runs(reanalysis)
    assert runs["left_out"].value_counts().to_dict() == {"": 351, "removed by hand": 18}
    counted = runs[runs["left_out"] == ""]
    medians = counted.groupby(["environment", "architecture"])["energy_j_per_image"].median()
    ours = reanalysis.corrected().groupby(["environment", "architecture"])["energy_j_per_image"]
    assert medians.to_dict() == pytest.approx(ours.median().to_dict())


def test_the_same_tables_give_the_same_bytes(bundle, published_table):
    tables = {name: published_table(name) for name in ("pepr2024", "xu2023")}
    assert pack_evidence(tables) == bundle.read_bytes()


def test_a_table_returns_as_it_was(bundle, published_table):
    for name in ("pepr2024", "xu2023"):
        pd.testing.assert_frame_equal(read_evidence(bundle, name)[0], typed(published_table(name)))


def test_another_data_set_is_not_in_it(bundle):
    with pytest.raises(BadInputError, match=r"published\.parquet: has no data set ecnas2022$"):
        read_evidence(bundle, "ecnas2022")


def rewritten(bundle, change_metadata=lambda content: content, change=lambda table: table):
    """Write the bundle again with other metadata or rows."""
    table = pq.read_table(bundle)
    metadata = json.loads(pq.read_metadata(bundle).metadata[KEY])
    changed = change(table)
    with pq.ParquetWriter(bundle, changed.schema) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({KEY: json.dumps(change_metadata(metadata))})


def without_metadata(bundle):
    pq.write_table(pq.read_table(bundle).replace_schema_metadata(None), bundle)


def test_a_changed_figure_is_found(bundle):
    def double(table):
        frame = table.to_pandas()
        frame.loc[3, "energy_j"] *= 2
        return table.from_pandas(frame, preserve_index=False)

    rewritten(bundle, change=double)
    with pytest.raises(BadInputError, match="the runs of pepr2024 do not match their hash"):
        read_evidence(bundle, "pepr2024")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"PAR1"), "cannot be read as Parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9000]), "cannot be read as Parquet"),
        (without_metadata, "not a bundle of published data"),
        (lambda path: rewritten(path, lambda m: m | {"format_version": 2}), "has format 2"),
    ],
)  # fmt: skip
def test_damage_gives_one_line(bundle, damage, reason):
    damage(bundle)
    with pytest.raises(BadInputError) as caught:
        read_evidence(bundle, "xu2023")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(bundle)) and reason in line  # noqa: PT018


def test_the_command_refuses_another_kind_of_file(tmp_path):
    done = greencv_here("evidence", "bundle", "--output", tmp_path / "published.csv")
    assert done.returncode == 2
    assert "must end in .parquet" in done.stderr


def test_the_command_writes_nothing_without_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GREENCV_DATA", str(tmp_path))
    done = greencv_here("evidence", "bundle", "--output", tmp_path / "published.parquet")
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert list(tmp_path.iterdir()) == []
