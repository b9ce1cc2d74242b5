"""Cards of published data sets, and what their tables say of defects."""

import re

import pytest

from greencv_core.published import DATA_SETS, DataUnavailableError, load_adapter, load_published
from greencv_core.published.card import Defect
from tests.conftest import ROOT

REASONS = {"left_out": "left out", "correctness_left_out": "correctness left out", "marked": "kept"}
"""Column of a reason to the effect of its rule."""


@pytest.fixture(params=DATA_SETS)
def card(request):
    return load_adapter(request.param).CARD


def test_a_card_names_its_source_and_is_complete(card):
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    release = load_adapter(card.key).RELEASE
    assert card.key == release.name
    assert re.search(rf"^@\w+\{{{card.citation},", bibliography, flags=re.M)
    assert card.repository.startswith("https://github.com/")
    assert card.repository.removeprefix("https://github.com/") in release.base_url
    assert release.base_url.endswith(card.commit)
    assert card.url.startswith("https://")
    for text in (card.title, card.authors, card.licence, card.laboratory):
        assert text
    for sentence in (card.trained, card.measured, *card.limits):
        assert sentence.endswith(".")
    assert card.columns["energy_j"]


def test_each_defect_has_a_key_a_finding_and_a_rule(card):
    keys = [defect.key for defect in card.defects]
    assert len(keys) == len(set(keys)) > 0
    for defect in card.defects:
        assert isinstance(defect, Defect)
        assert card.defect(defect.key) is defect
        assert defect.found.endswith(".")
        assert defect.rule.endswith(".")
    with pytest.raises(KeyError):
        card.defect("none of these")


def test_every_reason_in_a_table_is_a_defect_of_its_card(card):
    try:
        runs = load_published(card.key)
    except DataUnavailableError as error:
        pytest.skip(str(error))
    for column in (column for column in REASONS if column in runs):
        for reason in set(runs[column]) - {""}:
            assert card.defect(reason).effect == REASONS[column]
