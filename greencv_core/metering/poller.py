"""Background polling of all sources of a window, until their readings are settled."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from greencv_core.metering.base import EnergySource, MeterError, Recording, RefusedReadError
from greencv_core.metering.energy_curves import EnergyCurve
from greencv_core.metering.gpu_summary import GpuStates

FIRST_SLEEP_S = 0.001  # delay of the thread, so that the window's own thread starts undisturbed
SHORTEST_SLEEP_S = 0.0002
LONGEST_SLEEP_S = 1.0
STATE_PERIOD_S = 1.0
"""Time between readings of utilisation and the like, which cards average over as long."""
STATE_LEEWAY_S = 0.2  # seconds by which such a reading may come earlier, to share a wake-up
SETTLING_POLL_S = 0.02
LONGEST_WAIT_S = 8.0
"""Longest wait for a window to settle; every working source settles long before."""
LONGEST_READ_S = 2.0
"""Timeout of one reading; the driver of a card that fell off its bus may never answer."""
RETRY_S = 0.02  # seconds until a refused reading is repeated


class Poller:
    """A background thread that polls each source when it is due.

    A reading that is refused is repeated. A source that fails for good is not polled again; its
    failure is recorded, and no exception gets out. Sources that may hang are read by the thread
    alone; if one does, another thread takes over the other sources.
    """

    def __init__(self, sources: Sequence[EnergySource], poll_period_s: float) -> None:
        self.sources = tuple(sources)
        self.recordings: tuple[Recording, ...] = tuple(s.record(poll_period_s) for s in sources)
        self.failures: dict[int, str] = {}
        """Reason of failure by index of the source."""
        self.refusals: dict[int, str] = {}
        """Reason by index of the source whose last reading was refused."""
        self.gpu_states = GpuStates()
        self._direct = [i for i, source in enumerate(sources) if not source.may_hang]
        """Sources that the window's own thread may read."""
        self._polled = [False] * len(sources)
        self._retry_s = [-math.inf] * len(sources)
        self._locks = [threading.RLock() for _ in sources]
        # They know their owner. A signal may interrupt between the acquiring of a lock and the next
        # instruction; only the lock itself knows then whether it must be released.
        self._edges_s: list[float] = []
        self._stop_after_s = math.inf
        self._next_state_s = 0.0
        self._finished = threading.Event()
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._reading: tuple[int, float] | None = None
        """Source that the thread is reading, and since when."""
        self._thread = self._new_thread()

    def start(self) -> None:
        """Poll every source and start the thread."""
        self._poll_each(self._direct)
        self._next_state_s = time.monotonic() + STATE_PERIOD_S / 2
        self._thread.start()
        self.poll_all()  # once more, as close to the start of the work as possible

    def poll_all(self, *, at_end: bool = False, is_edge: bool = True) -> None:
        """Poll every source now, in reverse order at an end.

        Readings near an edge are kept in a long window.

        Sources that report the moment of the poll (RAPL) come last at a start and early at an end;
        sources that report their last refresh may be polled later.
        """
        if is_edge:
            self._edges_s.append(time.monotonic())
        if at_end:
            self._poll_each(reversed(self._direct))
            self._requests.put(None)  # the thread may be waiting for the next poll
            self._poll_in_thread()
        else:
            self._poll_in_thread()
            self._poll_each(self._direct)

    @property
    def finished(self) -> bool:
        """Whether no more polls will follow."""
        return self._finished.is_set()

    def known_until_s(self, index: int) -> float:
        """Return the time until which a source's energy is known; minus infinity if never."""
        return self.recordings[index].polled_s if self._polled[index] else -math.inf

    def unsettled(self, time_s: float, indices: Iterable[int]) -> tuple[str, ...]:
        """Return a problem for each source that has not failed and is not settled at a time."""
        return tuple(
            self.refusals.get(index, f"{self.sources[index].description}: not read until the end")
            for index in indices
            if index not in self.failures and not self._is_source_settled(index, time_s)
        )

    def curves(self) -> dict[int, EnergyCurve]:
        """Return the energy over time by index of the source, as far as it is known."""
        found = {}
        for index, recording in enumerate(self.recordings):
            wait_s = 0 if index in self.failures else LONGEST_READ_S
            try:
                if not self._locks[index].acquire(timeout=wait_s):
                    self._time_out(index)
                elif self._polled[index]:
                    found[index] = recording.curve()
            except Exception as error:
                self._fail(index, error)
            finally:
                try:  # noqa: SIM105 - a call of suppress() could be interrupted
                    self._locks[index].release()
                except RuntimeError:  # it was not acquired
                    pass
        return found

    def stop_after(self, time_s: float) -> None:
        """Let the thread end once every source is settled at a time; poll once more after this."""
        self._stop_after_s = time_s

    def abandon(self) -> None:
        """Let the thread end as soon as it can."""
        self._stop_after_s = -math.inf
        self._requests.put(None)

    def wait_until_settled(self, time_s: float) -> None:
        """Wait until every source that has not failed is settled at a time."""
        deadline_s = time.monotonic() + LONGEST_WAIT_S
        while not self._is_known(time_s) and time.monotonic() < deadline_s:
            self._replace_hanging_thread()

    def _is_known(self, time_s: float) -> bool:
        if time_s >= self._stop_after_s:
            return self._finished.wait(LONGEST_READ_S / 4)
        settled = self._is_settled(time_s)
        if not settled:
            time.sleep(SETTLING_POLL_S)
        return settled

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="greencv-meter", daemon=True)

    def _run(self) -> None:
        if not any(source.may_hang for source in self.sources):
            time.sleep(FIRST_SLEEP_S)
        try:
            while self._is_current() and not self._may_stop():
                self._poll_due()
            if self._is_current() and not self.gpu_states.count:  # a short window: at its end
                self._read_gpu_states()
        except Exception as error:
            # Without the thread, no source is known any further.
            for index in range(len(self.sources)):
                self.failures.setdefault(index, f"metering: {type(error).__name__}: {error}")
        finally:
            if self._is_current():
                self._finished.set()

    def _is_current(self) -> bool:
        """Return whether the calling thread was not replaced while a driver kept it waiting."""
        return threading.current_thread() is self._thread

    def _poll_due(self) -> None:
        now_s = time.monotonic()
        if self._next_due_s() <= now_s:
            # Waking the thread disturbs the training more than the polls, so polls share wake-ups.
            for index in range(len(self.recordings)):
                due_s = self._due_s(index) - self.recordings[index].leeway_s
                if index not in self.failures and due_s <= now_s and self._is_current():
                    self._poll(index)
            if self._next_state_s - STATE_LEEWAY_S <= now_s <= self._stop_after_s:
                self._read_gpu_states()
                self._next_state_s = now_s + STATE_PERIOD_S
        # A poll at an edge may bring the next one forward.
        sleep_s = min(max(self._next_due_s() - time.monotonic(), SHORTEST_SLEEP_S), LONGEST_SLEEP_S)
        with contextlib.suppress(queue.Empty):
            request = self._requests.get(timeout=sleep_s)
            if request is not None:
                request()

    def _due_s(self, index: int) -> float:
        return max(self.recordings[index].next_poll_s, self._retry_s[index])

    def _next_due_s(self) -> float:
        state_s = self._next_state_s if self._stop_after_s == math.inf else math.inf
        polls_s = (self._due_s(i) for i in range(len(self.recordings)) if i not in self.failures)
        return min([state_s, *polls_s])

    def _read_gpu_states(self) -> None:
        cards: dict[object, tuple[int, EnergySource]] = {}
        for index, source in enumerate(self.sources):
            if source.component == "gpu" and index not in self.failures:
                cards.setdefault(getattr(source, "uuid", index), (index, source))
        for index, card in cards.values():
            self._reading = index, time.monotonic()
            state = getattr(card, "state", None)
            if state is not None:
                self.gpu_states.add(state())
            self._reading = None

    def _may_stop(self) -> bool:
        if self._stop_after_s == math.inf:
            return False
        waited_s = time.monotonic() - self._stop_after_s
        return waited_s > LONGEST_WAIT_S or self._is_settled(self._stop_after_s)

    def _is_settled(self, time_s: float) -> bool:
        return not self.unsettled(time_s, range(len(self.sources)))

    def _is_source_settled(self, index: int, time_s: float) -> bool:
        return self._polled[index] and self.recordings[index].is_settled(time_s)

    def _poll_each(self, indices: Iterable[int]) -> None:
        for index in indices:
            self._poll(index, LONGEST_READ_S)

    def _poll_in_thread(self) -> None:
        """Let the thread poll the sources that may hang, and wait for it no longer than stated."""
        hanging = [i for i, s in enumerate(self.sources) if s.may_hang and i not in self.failures]
        if not hanging or not self._thread.is_alive():
            return
        done = threading.Event()

        def poll() -> None:
            for index in hanging:
                if self._is_current():
                    self._poll(index)
            done.set()

        self._requests.put(poll)
        deadline_s = time.monotonic() + LONGEST_READ_S * (1 + len(hanging))
        while not done.wait(LONGEST_READ_S / 4):
            late = time.monotonic() > deadline_s or not self._thread.is_alive()
            if self._replace_hanging_thread() or late:
                return

    def _replace_hanging_thread(self) -> bool:
        """If a driver does not answer, give its source up and poll the others in a new thread."""
        reading = self._reading
        if reading is None or time.monotonic() - reading[1] < LONGEST_READ_S:
            return False
        self._time_out(reading[0])
        # The lock that the old thread holds stays held; nobody waits for a source given up.
        self._reading, self._thread = None, self._new_thread()
        self._thread.start()
        return True

    def _poll(self, index: int, timeout_s: float = -1) -> None:
        # Keep this short: it interrupts the training, with cold caches.
        lock = self._locks[index]
        in_thread = self._is_current()
        try:
            if not lock.acquire(timeout=timeout_s):
                self._time_out(index)
            elif index not in self.failures:
                if in_thread:
                    self._reading = index, time.monotonic()
                self.recordings[index].poll()
                self._polled[index] = True
                self._retry_s[index] = -math.inf
                if self.refusals:
                    self.refusals.pop(index, None)
                self.recordings[index].thin(self._edges_s)
        except RefusedReadError as error:
            self.refusals[index], self._retry_s[index] = str(error), time.monotonic() + RETRY_S
        except Exception as error:
            self._fail(index, error)
        finally:
            if in_thread and self._is_current():
                self._reading = None
            try:  # noqa: SIM105 - a call of suppress() could be interrupted
                lock.release()
            except RuntimeError:  # it was not acquired
                pass

    def _time_out(self, index: int) -> None:
        self.failures.setdefault(index, f"{self.sources[index].description}: does not answer")

    def _fail(self, index: int, error: Exception) -> None:
        # A failing meter must neither end the training nor count as zero.
        name = self.sources[index].description
        other = f"{name}: {type(error).__name__}: {error}"
        self.failures.setdefault(index, str(error) if isinstance(error, MeterError) else other)
