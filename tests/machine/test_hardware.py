"""How accelerators are identified, so that their meters are found."""

import json
import os
from types import SimpleNamespace

import pytest
import torch

from greencv_core.machine.hardware import find_torch_accelerators
from tests.conftest import ROOT, python

DESCRIBE = (
    "import json; from greencv_core.machine.hardware import describe_machine; "
    "print(json.dumps([{**vars(a), 'metered': a.metered_uuids} "
    "for a in describe_machine().accelerators]))"
)
SUPPORT = ROOT / "tests" / "support"


@pytest.fixture
def cards(monkeypatch):
    """Return a function that sets the cards that torch's build for ROCm finds."""

    def set_cards(*found):
        monkeypatch.setattr(torch.version, "hip", "7.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: found[i])

    return set_cards


def card(bus, architecture="gfx942:sramecc+:xnack-", major=9):
    return SimpleNamespace(
        name="AMD Instinct", total_memory=192 << 30, major=major, minor=0,
        # torch shows the characters of ROCm's UUID as hexadecimal bytes.
        uuid="30313233-3435-3637-3839-616263646566", gcnArchName=architecture,
        pci_domain_id=0, pci_bus_id=bus, pci_device_id=0,
    )  # fmt: skip


def test_amd_cards_are_identified_by_their_pci_address(cards):
    cards(card(0xC6), card(0x05))
    first, second = find_torch_accelerators()
    assert (first.device, first.uuid) == ("cuda:0", "AMD-0000:c6:00.0")
    assert (second.device, second.uuid) == ("cuda:1", "AMD-0000:05:00.0")
    assert first.metered_uuids == ("AMD-0000:c6:00.0",)


@pytest.mark.parametrize(
    ("architecture", "major", "bf16"),
    [
        ("gfx906:sramecc+:xnack-", 9, False),  # MI50
        ("gfx908:sramecc+:xnack-", 9, False),  # MI100
        ("gfx90a:sramecc+:xnack-", 9, True),  # MI250
        ("gfx950:sramecc+:xnack-", 9, True),
        ("gfx1030", 10, False),
        ("gfx1100", 11, True),
    ],
)
def test_bfloat16_is_used_where_the_hardware_has_it(cards, architecture, major, bf16):
    cards(card(0xC6, architecture, major))
    assert find_torch_accelerators()[0].bf16 is bf16


@pytest.mark.parametrize(
    ("settings", "unmetered"),
    [
        ({}, ""),
        ({"device_id": "0x740c"}, "one of two dies of a card"),
    ],
    ids=["MI300X", "MI250"],
)
def test_a_card_of_rocm_is_metered(tmp_path, settings, unmetered):
    folders = (SUPPORT / "pretended_cuda", SUPPORT / "pretended_amd", ROOT)
    told = python(
        "-c", DESCRIBE,
        PYTHONPATH=os.pathsep.join(map(str, folders)),
        PRETENDED_CUDA=str(tmp_path),
        PRETENDED_AMD=json.dumps([settings]),
    )  # fmt: skip
    (found,) = json.loads(told)
    assert found["uuid"] == "AMD-0000:c1:00.0"
    assert unmetered in found["unmetered"]
    assert found["metered"] == ([] if unmetered else ["AMD-0000:c1:00.0"])
