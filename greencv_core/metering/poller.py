"""Looking at all sources of a window while it is open, and until what they told is settled."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Iterable, Sequence

from greencv_core.metering import nvml
from greencv_core.metering.base import EnergySource, MeterError, Recording
from greencv_core.metering.energy_curves import EnergyCurve

FIRST_SLEEP_S = 0.001
"""So that a window does not begin with two threads in each other's way."""
SHORTEST_SLEEP_S = 0.0002
LONGEST_SLEEP_S = 1.0
STATE_PERIOD_S = 1.0
"""Between looks at utilisation, temperature and the like, which a card averages over as long."""
STATE_LEEWAY_S = 0.2
"""So much sooner such a look may come, with one at something else."""
SETTLING_POLL_S = 0.02
LONGEST_WAIT_S = 5.0
"""For a window to settle: every source settles long before, or is lost."""
LONGEST_LOOK_S = 2.0
"""A driver that does not answer for so long, as of a card that fell off its bus, may never."""


class Sampler:
    """A background thread that looks at each source when it is due.

    A source that fails is looked at no more; its failure is kept, and no exception gets out.

    Parameters
    ----------
    sources
        The meters to look at.
    poll_period_s
        Between looks, at most, at meters whose refresh need not be followed.
    """

    def __init__(self, sources: Sequence[EnergySource], poll_period_s: float) -> None:
        self.sources = tuple(sources)
        self.recordings: tuple[Recording, ...] = tuple(s.record(poll_period_s) for s in sources)
        self.lost: dict[int, str] = {}
        """A source's place to why it was lost."""
        self.gpu_states: list[nvml.GpuState] = []
        self._told = [False] * len(sources)
        self._locks = [threading.Lock() for _ in sources]
        self._until_s = math.inf
        self._next_state_s = 0.0
        self._settled = threading.Event()
        self._edges: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="greencv-meter", daemon=True)

    def start(self) -> None:
        """Look at every source and begin."""
        self.look()
        self._next_state_s = time.monotonic() + STATE_PERIOD_S / 2
        self._thread.start()
        self.look()  # once more, as close to the work as can be

    def look(self, *, at_end: bool = False) -> None:
        """Look at every source now, in the opposite order at an end.

        What is told of the moment of a look alone (RAPL) comes last at a beginning and early at an
        end; what is told by refreshes may come late.
        """
        places = range(len(self.sources))
        for place in reversed(places) if at_end else places:
            self._look(place, LONGEST_LOOK_S)
        self._edges.put(None)

    @property
    def done(self) -> bool:
        """Whether nothing more will be looked at."""
        return self._settled.is_set()

    def told_until_s(self, place: int) -> float:
        """Return until when a source told its energy; the infinite past if it never did."""
        return self.recordings[place].looked_s if self._told[place] else -math.inf

    def unsettled(self, time_s: float, places: Iterable[int]) -> tuple[str, ...]:
        """Return what is to be said of sources that are neither lost nor settled for a time."""
        return tuple(
            f"{self.sources[place].description}: not read until the end"
            for place in places
            if place not in self.lost and not self.recordings[place].settled(time_s)
        )

    def curves(self) -> dict[int, EnergyCurve]:
        """Return each source's energy over time, as far as it is known; by its place."""
        found = {}
        for place, recording in enumerate(self.recordings):
            held = self._locks[place].acquire(timeout=LONGEST_LOOK_S)
            if not held:
                self._does_not_answer(place)
            try:
                if self._told[place]:
                    found[place] = recording.curve()
            except Exception as error:
                self._lose(place, error)
            finally:
                if held:
                    self._locks[place].release()
        return found

    def stop_after(self, time_s: float) -> None:
        """Let the thread end once every source is settled for a time; the last look follows."""
        self._until_s = time_s

    def wait_until_settled(self, time_s: float) -> None:
        """Wait until every source that is not lost is settled for a time."""
        if time_s >= self._until_s:
            self._settled.wait(LONGEST_WAIT_S)
            return
        deadline_s = time.monotonic() + LONGEST_WAIT_S
        while not self._is_settled(time_s) and time.monotonic() < deadline_s:
            time.sleep(SETTLING_POLL_S)

    def _run(self) -> None:
        time.sleep(FIRST_SLEEP_S)
        try:
            while not self._ended():
                self._look_at_what_is_due()
            if not self.gpu_states:  # a short window: the state at its end
                self._look_at_gpus()
        except Exception as error:
            # Whatever it was: without the thread, nothing more is known of any source.
            for place in range(len(self.sources)):
                self.lost.setdefault(place, f"metering: {type(error).__name__}: {error}")
        finally:
            self._settled.set()

    def _look_at_what_is_due(self) -> None:
        now_s = time.monotonic()
        if self._next_s() <= now_s:
            # What wakes the thread disturbs the training more than what it then looks at.
            for place, recording in enumerate(self.recordings):
                if place not in self.lost and recording.next_look_s - recording.leeway_s <= now_s:
                    self._look(place)
            if self._next_state_s - STATE_LEEWAY_S <= now_s <= self._until_s:
                self._look_at_gpus()
                self._next_state_s = now_s + STATE_PERIOD_S
        # An edge may have something looked at sooner than it was planned.
        sleep_s = min(max(self._next_s() - time.monotonic(), SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
        with contextlib.suppress(queue.Empty):
            self._edges.get(timeout=sleep_s)

    def _next_s(self) -> float:
        """Return when something is due."""
        next_s = self._next_state_s if self._until_s == math.inf else math.inf
        for place, recording in enumerate(self.recordings):
            if place not in self.lost:
                next_s = min(next_s, recording.next_look_s)
        return next_s

    def _look_at_gpus(self) -> None:
        cards = {
            source.uuid: source
            for place, source in enumerate(self.sources)
            if isinstance(source, nvml.NvmlSource) and place not in self.lost
        }
        self.gpu_states += [card.state() for card in cards.values()]

    def _ended(self) -> bool:
        if self._until_s == math.inf:
            return False
        waited_s = time.monotonic() - self._until_s
        return waited_s > LONGEST_WAIT_S or self._is_settled(self._until_s)

    def _is_settled(self, time_s: float) -> bool:
        return all(
            place in self.lost or recording.settled(time_s)
            for place, recording in enumerate(self.recordings)
        )

    def _look(self, place: int, patience_s: float = -1) -> None:
        # Beside the training, whose caches are cold for this: as few steps as can be.
        lock = self._locks[place]
        if not lock.acquire(timeout=patience_s):
            self._does_not_answer(place)
            return
        try:
            if place not in self.lost:
                self.recordings[place].look()
                self._told[place] = True
        except Exception as error:
            self._lose(place, error)
        finally:
            lock.release()

    def _does_not_answer(self, place: int) -> None:
        self.lost.setdefault(place, f"{self.sources[place].description}: does not answer")

    def _lose(self, place: int, error: Exception) -> None:
        # A meter that dies, however it does, must neither end the training nor be taken for a zero.
        name = self.sources[place].description
        known = isinstance(error, MeterError)
        reason = str(error) if known else f"{name}: {type(error).__name__}: {error}"
        self.lost.setdefault(place, reason)
