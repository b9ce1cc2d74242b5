"""AMD GPUs through AMD SMI, by PCI address.

``amdsmi`` has to fit the installed ROCm, so it is no dependency and is imported when needed. Its
energy counter has provenance *measured*; without one, the power is sampled: *sampled*.
https://rocm.docs.amd.com/projects/amdsmi/en/latest/ and the source of amdsmi 7.0.2 on PyPI;
dies of the MI250: ``aldebaran_is_primary`` in Linux' ``amd/pm/swsmu/smu13/aldebaran_ppt.c``;
counters that do not move or step back: https://github.com/ROCm/amdsmi/issues/38 and 115
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from greencv_core.metering.base import MeterError, RefusedReadError
from greencv_core.metering.counter import POWER_MARGIN
from greencv_core.metering.gpu import (
    HIGHEST_GPU_POWER_W,
    SLOWEST_REFRESH_S,
    GpuRecording,
    GpuState,
)
from greencv_core.metering.refresh_cycle import RefreshCycle
from greencv_core.metering.sources import rocm
from greencv_core.utils.energy import Component, Provenance

POWER_KEYS = ("current_socket_power", "average_socket_power", "socket_power")
"""Powers in watts: of MI300 and later, of earlier cards, and of either."""
LOST_CODES = (18, 31, 32, 34, 51)
"""Status codes after which a card does not come back (``AMDSMI_STATUS_INIT_ERROR``,
``NOT_FOUND``, ``NOT_INIT``, ``DRIVER_NOT_LOADED``, ``NO_DRV``)."""
NOT_AVAILABLE = 0xFFFF
"""A value that is not available; other versions give more ones, or the string "N/A"."""
DEAD_AFTER_S = 1.0  # time without any change after which a counter is not used
CHECKED_S = 0.02  # shortest time over which the slope of a counter is compared with the power
LARGEST_FACTOR = 3.0
"""Factor between the slope of a counter and the power from which its unit is wrong."""
CHECKS = 3  # repetitions of the comparison, as the load may change meanwhile
LOWEST_GPU_POWER_W = 1.0
LOWEST_UW = 100_000
"""Power limits from here on are in microwatts; some versions give watts."""


class NoLibraryError(MeterError):
    """AMD SMI is not installed, or does not fit the installed ROCm."""


@dataclass(frozen=True)
class _Card:
    handle: Any
    address: str
    """PCI address such as ``0000:c1:00.0``."""
    asic: dict[str, Any]
    node: int | None
    """Number by which ROCm sorts the cards; None if unknown."""

    @property
    def uuid(self) -> str:
        return rocm.PREFIX + self.address

    @property
    def name(self) -> str:
        return str(self.asic.get("market_name", "AMD GPU"))

    @property
    def device_id(self) -> str:
        return str(self.asic.get("device_id", "")).lower()

    @property
    def serial(self) -> str:
        return str(self.asic.get("asic_serial", "")).lower().removeprefix("0x")


class AmdSource:
    """Energy of one AMD GPU: its counter if it can be trusted, else integrated power.

    Parameters
    ----------
    uuid
        ``AMD-`` and the PCI address. For a card of two dies, ``/card`` after the address of its
        first die means the energy of both.
    use_counter
        False integrates power even if there is a counter, for comparison.

    Raises :class:`MeterError` if the card does not exist or its energy is unknown.
    """

    component: Component = "gpu"
    may_hang = True
    averaged = False  # over how long a card averages its power is not documented

    def __init__(self, uuid: str, *, use_counter: bool = True) -> None:
        self.uuid = uuid
        self._smi = _load_library()
        card = _find_card(self._smi, uuid.removesuffix(rocm.WHOLE_CARD))
        self.name, self._handle = card.name, card.handle
        whole = uuid.endswith(rocm.WHOLE_CARD)
        if reason := rocm.shared_energy(card.device_id, str(card.asic.get(_GFX, "")), whole):
            raise MeterError(f"GPU {uuid}: {reason}")
        self._dies = ", both dies" if whole else ""
        self.power_limit_w = self._power_limit_w()
        self._power_key = _power_key(self._smi, self._handle)
        self.has_power = self._power_key is not None
        self._counter_problem = self._find_counter_problem() if use_counter else ""
        self.uses_counter = use_counter and not self._counter_problem
        if not self.uses_counter and not self.has_power:
            raise MeterError(
                f"GPU {uuid} ({self.name}) reports neither energy nor power: its energy counter "
                f"{self._counter_problem or 'is not used'}, its power is 0 or N/A"
            )
        self.every_refresh = not self.uses_counter
        self.provenance: Provenance = "measured" if self.uses_counter else "sampled"
        self.cycle: RefreshCycle | None = None

    @property
    def description(self) -> str:
        """Quantity that is read, the card's name, and why its counter is not used."""
        what = "energy counter" if self.uses_counter else "power, integrated"
        why = f"; its energy counter {self._counter_problem}" if self._counter_problem else ""
        return f"AMD SMI {what} ({self.name}{self._dies}{why})"

    @property
    def relative_uncertainty(self) -> float:
        """AMD states no accuracy of its sensors."""
        return 0.0

    def record(self, poll_period_s: float) -> GpuRecording:
        """Return a new recording, whose polls follow the card's refreshes."""
        return GpuRecording(self)

    def read(self) -> float:
        """Return the counter in joules, or the power in watts."""
        if self.uses_counter:
            return self._energy_j()
        try:
            info = self._smi.amdsmi_get_power_info(self._handle)
        except Exception as error:
            self._refuse("power", error)
        power_w = _number(info.get(self._power_key))
        if power_w is None:
            raise RefusedReadError(f"GPU {self.uuid}: power cannot be read: N/A")
        return power_w

    def power_w(self) -> float | None:
        """Return the power in watts; None if unknown."""
        info = self._query("amdsmi_get_power_info") or {}
        return _number(info.get(self._power_key))

    def instant_power_w(self) -> float | None:
        """Return the instantaneous power in watts; None if the card only reports a mean."""
        return self.power_w() if self._power_key == "current_socket_power" else None

    def state(self) -> GpuState:
        """Return the GPU's utilisation, temperature and the like at this moment."""
        smi = self._smi
        activity = self._query("amdsmi_get_gpu_activity") or {}
        memory = self._query("amdsmi_get_gpu_memory_usage", smi.AmdSmiMemoryType.VRAM)
        clocks = smi.AmdSmiClkType
        processes = self._query("amdsmi_get_gpu_process_list") or []
        return GpuState(
            utilization_pct=_number(activity.get("gfx_activity")),
            memory_used_bytes=None if memory is None else int(memory),
            temperature_c=self._temperature_c(),
            sm_clock_mhz=self._clock_mhz(clocks.GFX),
            memory_clock_mhz=self._clock_mhz(clocks.MEM),
            power_limit_w=self._power_limit_w(),
            # AMD SMI needs 0.1 s to report what holds the clocks back.
            processes=tuple(int(p["pid"]) for p in processes if isinstance(p, dict)),
        )

    def _query(self, function: str, *arguments: Any) -> Any:
        """Call AMD SMI for this card; None if the card or the driver does not support it."""
        return _query(self._smi, self._handle, function, *arguments)

    def _temperature_c(self) -> float | None:
        sensors, current = (
            self._smi.AmdSmiTemperatureType,
            self._smi.AmdSmiTemperatureMetric.CURRENT,
        )
        for sensor in (sensors.EDGE, sensors.HOTSPOT):  # MI300 has no sensor at its edge
            value = _number(self._query("amdsmi_get_temp_metric", sensor, current))
            if value:
                return value / 1e3 if value > 1e3 else value
        return None

    def _clock_mhz(self, clock: Any) -> float | None:
        info = self._query("amdsmi_get_clock_info", clock) or {}
        return _number(info.get("clk", info.get("cur_clk")))

    def _power_limit_w(self) -> float | None:
        limit = (self._query("amdsmi_get_power_cap_info") or {}).get("power_cap")
        if not isinstance(limit, int) or not limit:
            return None
        limit_w = limit / 1e6 if limit >= LOWEST_UW else float(limit)
        return limit_w if limit_w <= HIGHEST_GPU_POWER_W else None

    def _energy_j(self) -> float:
        try:
            count = self._smi.amdsmi_get_energy_count(self._handle)
        except Exception as error:
            self._refuse("energy counter", error)
        name = "energy_accumulator" if "energy_accumulator" in count else "power"
        return float(count[name] * count["counter_resolution"] / 1e6)

    def _find_counter_problem(self) -> str:
        """Return why the counter cannot be used, after "its energy counter"; empty if it can."""
        problem = ""
        for _ in range(CHECKS):
            try:
                powers_w = [self.power_w()]
                slope_w = self._counter_slope_w()
            except RefusedReadError as error:
                problem = f"cannot be read: {_reason(error.__cause__ or error)}"
                continue
            if slope_w is None:
                return "does not move"
            powers_w.append(self.power_w())
            known_w = [power_w for power_w in powers_w if power_w]
            lowest_w = min(known_w) / LARGEST_FACTOR if known_w else LOWEST_GPU_POWER_W
            limit_w = POWER_MARGIN * (self.power_limit_w or HIGHEST_GPU_POWER_W)
            highest_w = max(known_w) * LARGEST_FACTOR if known_w else limit_w
            if lowest_w <= slope_w <= highest_w:
                return ""
            told = f"while the power is {known_w[-1]:,.4g} W" if known_w else "which is impossible"
            problem = f"has a wrong unit: it rises by {slope_w:,.2g} J each second, {told}"
        return problem

    def _counter_slope_w(self) -> float | None:
        """Return the power by the counter, between two of its changes; None if it has none."""
        first: tuple[float, float] | None = None
        value_j, end_s = self._energy_j(), time.monotonic() + DEAD_AFTER_S
        while (now_s := time.monotonic()) < end_s:
            before_j, value_j = value_j, self._energy_j()
            if value_j == before_j:
                time.sleep(CHECKED_S / 10)
            elif first is None:
                first, end_s = (now_s, value_j), now_s + SLOWEST_REFRESH_S
            elif now_s - first[0] >= CHECKED_S:
                return (value_j - first[1]) / (now_s - first[0])
        return None

    def _refuse(self, what: str, error: Exception) -> NoReturn:
        reason = _reason(error)
        if getattr(error, "err_code", None) in LOST_CODES:
            raise MeterError(f"GPU {self.uuid}: {what} lost: {reason}") from error
        raise RefusedReadError(f"GPU {self.uuid}: {what} cannot be read: {reason}") from error


def visible_amd_gpus() -> tuple[str, ...]:
    """Return the identifiers of the AMD GPUs visible to this process.

    Empty without ROCm's driver. :class:`MeterError` is raised if AMD SMI is missing, or if it is
    unknown which cards an environment variable means.
    """
    try:
        cards = _find_cards(_load_library())
    except MeterError:
        if not rocm.DRIVER.exists():
            return ()
        raise
    ordered = all(card.node is not None for card in cards)
    if ordered:
        cards.sort(key=lambda card: card.node or 0)
    return rocm.visible([(card.uuid, card.serial) for card in cards], ordered=ordered)


def join_dies(uuids: list[str]) -> list[str]:
    """Return the identifiers, with each card of two dies once if all its dies are among them.

    Which two dies share a card is unknown, so all such dies of the computer have to be given.
    """
    if not any(uuid.startswith(rocm.PREFIX) for uuid in uuids):
        return uuids
    try:
        smi = _load_library()
        dies = [c for c in _find_cards(smi) if c.device_id in rocm.TWO_DIES]
    except MeterError:
        return uuids
    first = {die.uuid for die in dies if _power_key(smi, die.handle) is not None}
    others = {die.uuid for die in dies} - first
    complete = first | others <= set(uuids) and len(dies) >= rocm.count_dies()
    if not first or len(first) != len(others) or not complete:
        return uuids
    return [u + rocm.WHOLE_CARD if u in first else u for u in uuids if u not in others]


_GFX = "target_graphics_version"


def _load_library() -> Any:
    try:
        with contextlib.redirect_stdout(None):  # it prints if ROCm's own library is missing
            import amdsmi
    except ImportError as error:
        raise NoLibraryError(f"amdsmi is not installed; run: {rocm.install_command()}") from error
    except Exception as error:
        raise NoLibraryError(
            f"amdsmi does not fit the installed ROCm ({_reason(error)}); run: "
            f"{rocm.install_command()}"
        ) from error
    try:
        amdsmi.amdsmi_init()
    except Exception as error:
        raise MeterError(f"no AMD GPU (AMD SMI: {_reason(error)})") from error
    return amdsmi


def _find_cards(smi: Any) -> list[_Card]:
    try:
        handles = smi.amdsmi_get_processor_handles()
        addresses = [str(smi.amdsmi_get_gpu_device_bdf(handle)).lower() for handle in handles]
    except Exception as error:
        raise MeterError(f"AMD SMI cannot list the GPUs: {_reason(error)}") from error
    cards = []
    for handle, address in zip(handles, addresses, strict=True):
        node = (_query(smi, handle, "amdsmi_get_gpu_kfd_info") or {}).get("node_id")
        render = (_query(smi, handle, "amdsmi_get_gpu_enumeration_info") or {}).get("drm_render")
        # In a container or a batch job, AMD SMI lists cards that this process may not use.
        file = rocm.DEVICES / f"renderD{render}"
        if not isinstance(render, int) or os.access(file, os.R_OK | os.W_OK):
            is_known = isinstance(node, int)
            cards.append(_Card(handle, address, _asic(smi, handle), node if is_known else None))
    return cards


def _find_card(smi: Any, uuid: str) -> _Card:
    slot = uuid.removeprefix(rocm.PREFIX).lower().partition(".")[0]
    found = [card for card in _find_cards(smi) if card.address.partition(".")[0] == slot]
    if len(found) == 1:
        return found[0]
    if found:
        raise MeterError(f"GPU {uuid} {rocm.PARTITIONED}")
    raise MeterError(f"GPU {uuid}: AMD SMI lists no such card")


def _asic(smi: Any, handle: Any) -> dict[str, Any]:
    try:
        return dict(smi.amdsmi_get_gpu_asic_info(handle))
    except UnicodeDecodeError as error:  # damaged firmware returns other bytes
        return {"market_name": bytes(error.object).decode(errors="replace")}
    except Exception:
        return {}


def _power_key(smi: Any, handle: Any) -> str | None:
    """Return the name of the power that a card reports; None if each is 0 or N/A."""
    info = _query(smi, handle, "amdsmi_get_power_info") or {}
    return next((key for key in POWER_KEYS if _number(info.get(key))), None)


def _query(smi: Any, handle: Any, function: str, *arguments: Any) -> Any:
    # Older versions do not have all functions, and some functions raise errors of other kinds.
    try:
        return getattr(smi, function)(handle, *arguments)
    except Exception:
        return None


def _number(value: Any) -> float | None:
    """Return a value that is available; AMD SMI gives a string or the largest integer if not."""
    usable = isinstance(value, int | float) and value < NOT_AVAILABLE
    return float(value) if usable else None


def _reason(error: BaseException) -> str:
    # Messages of AMD SMI have several lines.
    return " ".join(str(error).split()) or type(error).__name__
