"""Seeds and parts of bootstraps."""

from greencv_core.analysis import bootstrap
from greencv_core.analysis.bootstrap import generator, parts


def test_a_group_has_the_same_numbers_in_every_analysis():
    assert generator("a").random() == generator("a").random() != generator("b").random()


def test_parts_cover_all_rows_and_fit_into_memory(monkeypatch):
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 7_000)
    cuts = list(parts(20, 1_000))
    assert [row for part in cuts for row in range(part.start, part.stop)] == list(range(20))
    assert max(part.stop - part.start for part in cuts) == 7
    assert list(parts(2, 100_000)) == [slice(0, 1), slice(1, 2)]
