"""AMD SMI for simulated GPUs of known energy: names, types and errors of ``amdsmi`` 7.0.2.

``PRETENDED_AMD`` holds the cards as JSON, read at each call, so that a test changes them meanwhile.
Of each card:

    bdf, name, serial, device_id, gfx, node, render
                its identity; ``name_hex`` are the bytes of a name that is no text
    power       seconds and watts of the true power (:class:`Waveform`), ``origin_s`` their start
    refresh_s   period of the counter and of the power
    power_key   the power that is told; the others are "N/A", and so are all if it is empty
    counter     live, dead (does not move), zero (the second die of a card), or an error's code
    unit        factor by which the counter is wrong
    old         whether the counter has the names from before 6.2.1
    added_j     joules by which the counter is off, as after a restart
    power_code  code of the error that the power raises
    lost_code   code of the error that every call raises
    cap_uw, pids  power limit and processes
"""

import ctypes
import json
import os
import time
from enum import IntEnum

from tests.support.simulated_gpu import Waveform

RESOLUTION_UJ = 15.258999824523926  # a C float, as the real one
NOT_SUPPORTED, NO_PERMISSION, BUSY, NOT_FOUND = 2, 10, 30, 31
ERRORS = {
    NOT_SUPPORTED: "AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported",
    NO_PERMISSION: "AMDSMI_STATUS_NO_PERM - Permission Denied",
    BUSY: "AMDSMI_STATUS_BUSY - Device busy",
    NOT_FOUND: "AMDSMI_STATUS_NOT_FOUND - Device Not found",
    34: "AMDSMI_STATUS_DRIVER_NOT_LOADED - Driver not loaded",
}
CARD = {
    "bdf": "0000:c1:00.0", "name": "AMD Instinct MI300X OAM", "serial": "0x0123456789ABCDEF",
    "device_id": "0x74a1", "gfx": "gfx942", "node": 2, "render": "N/A",
    "power": [[0.0, 250.0]], "origin_s": 0.0,
    "refresh_s": 0.001, "power_key": "current_socket_power", "counter": "live", "unit": 1.0,
    "old": False, "added_j": 0.0, "power_code": 0, "lost_code": 0, "cap_uw": 750_000_000,
    "pids": [], "name_hex": "",
}  # fmt: skip


class AmdSmiException(Exception):
    pass


class AmdSmiLibraryException(AmdSmiException):
    def __init__(self, err_code):
        err_code = abs(err_code)
        super().__init__(err_code)
        self.err_code = err_code
        self.err_info = ERRORS.get(
            err_code, "AMDSMI_STATUS_UNKNOWN_ERROR - An unknown error occurred"
        )

    def __str__(self):
        return f"Error code:\n\t{self.err_code} | {self.err_info}"


class AmdSmiParameterException(AmdSmiException):
    pass


class AmdSmiInitFlags(IntEnum):
    INIT_AMD_GPUS = 2


class AmdSmiMemoryType(IntEnum):
    VRAM = 0


class AmdSmiTemperatureType(IntEnum):
    EDGE = 0
    HOTSPOT = 1


class AmdSmiTemperatureMetric(IntEnum):
    CURRENT = 0


class AmdSmiClkType(IntEnum):
    GFX = 0
    MEM = 4


def amdsmi_init(flag=AmdSmiInitFlags.INIT_AMD_GPUS):
    assert isinstance(flag, AmdSmiInitFlags)
    if "PRETENDED_AMD" not in os.environ:
        raise AmdSmiLibraryException(34)


def amdsmi_get_processor_handles():
    return [ctypes.c_void_p(i + 1) for i in range(len(_cards()))]


def amdsmi_get_gpu_device_bdf(processor_handle):
    return _card(processor_handle, may_be_lost=True)["bdf"]


def amdsmi_get_gpu_kfd_info(processor_handle):
    node = _card(processor_handle, may_be_lost=True)["node"]
    if node is None:
        raise AmdSmiLibraryException(NOT_SUPPORTED)
    return {"kfd_id": 4711, "node_id": node, "current_partition_id": 0}


def amdsmi_get_gpu_enumeration_info(processor_handle):
    card = _card(processor_handle)
    unknown = dict.fromkeys(("drm_card", "hsa_id", "hip_id"), "N/A")
    return {"drm_render": card["render"], **unknown, "hip_uuid": ""}


def amdsmi_get_gpu_asic_info(processor_handle):
    card = _card(processor_handle)
    name = bytes.fromhex(card["name_hex"]).decode("utf-8") if card["name_hex"] else card["name"]
    return {
        "market_name": name, "vendor_id": "0x1002", "vendor_name": "AMD", "subvendor_id": "0x1002",
        "device_id": card["device_id"], "rev_id": "0x00", "asic_serial": card["serial"],
        "oam_id": 0, "num_compute_units": 304, "target_graphics_version": card["gfx"],
        "subsystem_id": "0x74a1",
    }  # fmt: skip


def amdsmi_get_energy_count(processor_handle):
    card = _card(processor_handle)
    counter = card["counter"]
    if isinstance(counter, int):
        raise AmdSmiLibraryException(counter)
    energy_j = {"live": _energy_j(card), "dead": 1.0, "zero": 0.0}[counter]
    count = int((energy_j + card["added_j"]) * 1e6 / RESOLUTION_UJ * card["unit"])
    return {
        "power" if card["old"] else "energy_accumulator": count,
        "counter_resolution": RESOLUTION_UJ,
        "timestamp": time.monotonic_ns(),
    }


def amdsmi_get_power_info(processor_handle):
    card = _card(processor_handle)
    if card["power_code"]:
        raise AmdSmiLibraryException(card["power_code"])
    # What is not available is the largest integer of 32 bits, or "N/A" for that of 16.
    powers = dict.fromkeys(("current_socket_power", "average_socket_power"), "N/A")
    powers["socket_power"] = 2**32 - 1
    if card["power_key"]:
        now_s = _refreshed_s(card)
        truth = _truth(card)
        powers[card["power_key"]] = round(truth.energy_j(now_s - 0.001, now_s) / 0.001)
    return {**powers, "gfx_voltage": "N/A", "soc_voltage": "N/A", "mem_voltage": "N/A",
            "power_limit": card["cap_uw"] // 1_000_000}  # fmt: skip


def amdsmi_get_power_cap_info(processor_handle):
    cap_uw = _card(processor_handle)["cap_uw"]
    return {"power_cap": cap_uw, "default_power_cap": cap_uw, "dpm_cap": 2100, "min_power_cap": 0,
            "max_power_cap": cap_uw}  # fmt: skip


def amdsmi_get_gpu_activity(processor_handle):
    _card(processor_handle)
    return {"gfx_activity": 80, "umc_activity": 20, "mm_activity": "N/A"}


def amdsmi_get_gpu_memory_usage(processor_handle, mem_type):
    assert isinstance(mem_type, AmdSmiMemoryType)
    _card(processor_handle)
    return 4 << 30


def amdsmi_get_temp_metric(processor_handle, sensor_type, metric):
    assert metric is AmdSmiTemperatureMetric.CURRENT
    _card(processor_handle)
    if sensor_type is AmdSmiTemperatureType.EDGE:
        raise AmdSmiLibraryException(NOT_SUPPORTED)
    return 55


def amdsmi_get_clock_info(processor_handle, clock_type):
    _card(processor_handle)
    clock_mhz = {AmdSmiClkType.GFX: 2100, AmdSmiClkType.MEM: 1300}[clock_type]
    return {"clk": clock_mhz, "min_clk": 500, "max_clk": 2100, "clk_locked": False,
            "clk_deep_sleep": "N/A"}  # fmt: skip


def amdsmi_get_gpu_process_list(processor_handle):
    return [{"name": "python", "pid": pid} for pid in _card(processor_handle)["pids"]]


def _cards():
    return [{**CARD, **card} for card in json.loads(os.environ["PRETENDED_AMD"])]


def _card(processor_handle, *, may_be_lost=False):
    if not isinstance(processor_handle, ctypes.c_void_p):
        raise AmdSmiParameterException(processor_handle)
    card = _cards()[processor_handle.value - 1]
    if card["lost_code"] and not may_be_lost:
        raise AmdSmiLibraryException(card["lost_code"])
    return card


def _truth(card):
    return Waveform(tuple(map(tuple, card["power"])), card["origin_s"])


def _refreshed_s(card):
    period_s = card["refresh_s"]
    return time.monotonic() // period_s * period_s


def _energy_j(card):
    start_s = card["origin_s"] - 1000.0  # the counter has run for long
    return _truth(card).energy_j(start_s, _refreshed_s(card))
