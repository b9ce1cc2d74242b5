"""When a meter's value is refreshed: looking at it often enough to know, and no more often.

A board's sensor is read by its driver every 20 to 100 ms; between two refreshes the value stands
still. Whoever reads it at the edges of a window is up to one refresh behind at each. Here the
rhythm of the refreshes is found, and kept by a look just before and just after one is due, so that
their times are known to a millisecond or two; the rest is interpolation
(:mod:`greencv_core.metering.energy_curves`). Every refresh of a power is looked at. A count loses
nothing between looks: its refreshes around the edges of a window and its phases are looked at, the
others now and then.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

SEARCH_GAP_S = 0.002
"""Between looks while the rhythm is not known, at first."""
SLOW_SEARCH_GAP_S = 0.004
"""After that: most boards refresh every 20 to 100 ms."""
FAST_SEARCH_S = 0.03
SEARCH_S = 0.3
"""A value that has not moved for so long stands still: constant power, or a card at rest."""
STILL_GAP_S = 0.033
"""Between looks at a value that stands still."""
CONTINUOUS_GAP_S = 0.05
TIGHT_S = 0.008
"""A refresh known to less than this can tell the rhythm."""
MARGIN_S = 0.0005
"""Looks fall so long before and after a refresh is due, where they have found it there before."""
ONE_BEAT = 0.6
"""A bracket of less than this share of a period holds one beat at most."""
STRAYS = 8
"""So many refreshes off the beat, one after the other, and the rhythm is looked for anew."""
READ_S = 1e-4
"""Standard uncertainty of the moment within a read that a value without a rhythm is of."""
SETTLED_BEATS = 20
"""After so many beats a rhythm is known well enough to look back with."""
BEAT_S = 0.0008
"""Standard uncertainty of a beat at the least: looks come some tenths of a millisecond late."""
OVERDUE_S = 0.01
"""So long after a beat was due it is looked for."""
RESTARTS = 3
IRREGULAR_GAP_S = 0.012
"""Between looks at a value whose rhythm was found and lost so often that it has none."""
UNCHECKED_BEATS = 4
"""So many beats in a row are looked at from behind alone, which tells late ones but no early; where
the rhythm is known well. Of a count that is looked at between beats, as many looks."""
LONGEST_PERIOD_S = 0.5
TRACKED_GAP_S = 0.5
"""A count is not followed beat by beat while nobody asks: that would cost more than it tells."""
CLOSE_BEATS = 3.5
"""So long each beat is looked at after a window or a phase began or ended."""
PLAINLY_AFTER = 0.9
"""A look by so much of the margin after a beat is due finds it there."""
USUAL_PERIOD_S = 0.1
"""What is assumed where no rhythm could be seen."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh of the value, and when it was."""

    time_s: float
    """On the monotonic clock; the best estimate."""
    uncertainty_s: float
    """Its standard uncertainty."""
    value: float
    read_s: float
    """When the value was read, at the first look that found it."""


@dataclass
class Rhythm:
    """A regular refresh: one at ``anchor_s``, then every ``period_s``."""

    anchor_s: float
    period_s: float
    period_uncertainty_s: float

    def latest_until(self, time_s: float) -> float:
        """Return the last refresh not after a time."""
        beats = math.floor((time_s - self.anchor_s) / self.period_s)
        return self.anchor_s + beats * self.period_s

    def nearest(self, time_s: float) -> float:
        """Return the refresh nearest to a time."""
        return self.anchor_s + round((time_s - self.anchor_s) / self.period_s) * self.period_s

    def uncertainty_s(self, time_s: float, unsteady_s: float) -> float:
        """Return the standard uncertainty of a refresh near a time, of a rhythm so unsteady."""
        beats = abs(time_s - self.anchor_s) / self.period_s
        return math.hypot(max(BEAT_S, unsteady_s), beats * self.period_uncertainty_s)


class RefreshWatch:
    """Looks at one value and records its refreshes.

    Parameters
    ----------
    read
        Reads the value; what it raises goes through to whoever looks.
    rhythm
        That of an earlier watch of the same value: it spares the search.
    every_refresh
        Whether a value that is missed is lost, as of a power; a count goes on.
    """

    def __init__(
        self,
        read: Callable[[], float],
        rhythm: Rhythm | None = None,
        *,
        every_refresh: bool = False,
    ) -> None:
        self._read = read
        self._every_refresh = every_refresh
        self.rhythm: Rhythm | None = None
        self.continuous = False
        """Whether the value moves at every look: then each look is a refresh."""
        self.refreshes: list[Refresh] = []
        self.next_look_s = 0.0
        self._known_period = rhythm
        self._looked: tuple[float, float, float] | None = None
        self._moves_in_a_row = 0
        self._stood_still = self._has_moved = False
        self._tight: list[Refresh] = []
        self._search_began_s = 0.0
        self._margin_s = 2 * MARGIN_S
        self._strays = self._restarts = 0
        self._beats_since_tight = UNCHECKED_BEATS
        self._left_out_first = 0
        """Refreshes between the first value and the second, whose beats were not plain."""
        self._first_beat: tuple[float, float] | None = None
        self._rhythm_since_s = math.inf
        self._first_rhythm: Rhythm | None = None
        self._closely_until_s = -math.inf

    @property
    def looked_s(self) -> float:
        """When the value was last seen."""
        assert self._looked is not None, "look() comes first"
        return self._looked[1]

    @property
    def never_moved_s(self) -> float:
        """For how long the value has been looked at without ever moving; 0 once it has."""
        return 0.0 if self._has_moved else self.looked_s - self.refreshes[0].read_s

    @property
    def period_s(self) -> float:
        """The refresh period, or what is assumed of it; the gap between looks at least."""
        rhythm = self.rhythm  # another thread may lose it
        if self.continuous:
            return 2 * SEARCH_GAP_S
        return rhythm.period_s if rhythm else USUAL_PERIOD_S

    def look(self) -> float:
        """Read the value once and return it; :attr:`next_look_s` says when to look again.

        Who looks earlier wants to know of this moment: the beats after it are followed closely.
        """
        before_s = time.monotonic()
        unplanned = before_s < self.next_look_s
        value = self._read()
        after_s = time.monotonic()
        last, self._looked = self._looked, (before_s, after_s, value)
        if last is None:
            self._begin(before_s, after_s, value)
        elif value != last[2]:
            self._has_moved = True
            self._moved(last[0], after_s, value, before_s)
        else:
            self._moves_in_a_row, self._stood_still = 0, True
            if self.continuous:  # it only looked so, to looks that came late
                self.continuous = False
                self._search_again(after_s)
        if unplanned:
            self._follow_closely(after_s)
        self._plan(after_s)
        return value

    def _follow_closely(self, now_s: float) -> None:
        if self.rhythm is not None:
            self._closely_until_s = now_s + CLOSE_BEATS * self.rhythm.period_s

    def _begin(self, before_s: float, after_s: float, value: float) -> None:
        self._search_began_s = after_s
        # How old the first value is comes to light with the rhythm: see timeline().
        read_s = (before_s + after_s) / 2
        self.refreshes.append(Refresh(read_s, (after_s - before_s) / math.sqrt(12), value, read_s))
        known = self._known_period
        if known is None:
            return
        uncertainty_s = known.uncertainty_s(after_s, MARGIN_S)
        if uncertainty_s < known.period_s / 20:  # seen so lately that its beats are known, too
            self._known_period = None
            self._margin_s = max(2 * MARGIN_S, 2 * uncertainty_s)
            # A beat that was due just now may be yet to come: it is looked for.
            self.rhythm = replace(known, anchor_s=known.latest_until(after_s - self._margin_s))
            self._rhythm_since_s = after_s
            self._first_beat = (known.anchor_s, 4 * MARGIN_S)
            self._follow_closely(after_s)

    def _moved(self, earliest_s: float, latest_s: float, value: float, before_s: float) -> None:
        """Record a refresh between two looks."""
        width_s = latest_s - earliest_s
        self._moves_in_a_row += 1
        if self._may_be_of_two_beats(earliest_s, latest_s):
            self._left_out_first += len(self.refreshes) == 1
            return
        if self.rhythm is not None:
            time_s, uncertainty_s = self._on_the_beat(earliest_s, latest_s)
        else:
            time_s, uncertainty_s = (earliest_s + latest_s) / 2, width_s / math.sqrt(12)
        refresh = Refresh(time_s, uncertainty_s, value, (before_s + latest_s) / 2)
        self.refreshes.append(refresh)
        if self.rhythm is None and not self.continuous:
            self._search(refresh, width_s)

    def _may_be_of_two_beats(self, earliest_s: float, latest_s: float) -> bool:
        """Return whether a value may be of the beat just due or of the one before: it is no use.

        Where not every beat is looked at, a look at a window's edge may fall on one.
        """
        rhythm = self.rhythm
        if rhythm is None or self._every_refresh:
            return False
        beat_s, early_s = rhythm.nearest(latest_s), self._early_s(rhythm, latest_s)
        plainly = latest_s < beat_s - early_s or latest_s > beat_s + PLAINLY_AFTER * self._margin_s
        seen = len(self.refreshes) > 1
        seen_s = self.refreshes[-1].time_s + rhythm.period_s / 2 if seen else -math.inf
        return not plainly and beat_s - rhythm.period_s > max(seen_s, earliest_s - early_s)

    def _early_s(self, rhythm: Rhythm, time_s: float) -> float:
        """Return how long before it is due a beat may come."""
        early_s = self._margin_s + 2 * rhythm.uncertainty_s(time_s, self._margin_s)
        return min(early_s, rhythm.period_s / 3)

    def _on_the_beat(self, earliest_s: float, latest_s: float) -> tuple[float, float]:
        """Return the time of a refresh within a bracket, by rhythm and bracket together.

        A beat within the bracket is taken; one outside shows that the rhythm has drifted, and is
        set right. The bracket shrinks as long as the beats fall into it, so drift shows at once.
        """
        rhythm = self.rhythm
        assert rhythm is not None
        width_s, middle_s = latest_s - earliest_s, (earliest_s + latest_s) / 2
        tight = width_s < min(rhythm.period_s / 2, max(TIGHT_S, 3 * self._margin_s))
        if width_s < ONE_BEAT * rhythm.period_s:
            beat_s = rhythm.nearest(middle_s)
        else:
            # Of several beats since the last look the latest made the value; it may have come
            # somewhat before it was due.
            beat_s = rhythm.latest_until(latest_s + self._early_s(rhythm, latest_s))
        time_s = min(max(beat_s, earliest_s), latest_s)
        off_s = abs(time_s - beat_s)
        uncertainty_s = min(
            width_s / math.sqrt(12), rhythm.uncertainty_s(time_s, self._margin_s) + off_s
        )
        # A rhythm whose beats are off, or that no look around a beat confirms, was none.
        self._beats_since_tight = 0 if tight else self._beats_since_tight + 1
        astray = off_s > rhythm.period_s / 8 or not tight
        self._strays = self._strays + 1 if astray else 0
        if self._strays > STRAYS:
            self._search_again(latest_s)
            return time_s, uncertainty_s
        if off_s > 0:
            self._margin_s = min(2 * self._margin_s, rhythm.period_s / 8)
            self._follow_closely(latest_s)
        elif tight:
            self._margin_s = max(MARGIN_S, 0.8 * self._margin_s)
        if tight or off_s > 0:
            self._follow(time_s, max(2 * self._margin_s, off_s))
        return time_s, uncertainty_s

    def _follow(self, time_s: float, width_s: float) -> None:
        """Set the rhythm by a refresh whose time is known to some width."""
        rhythm = self.rhythm
        assert rhythm is not None
        if self._first_beat is None:
            self._first_beat = (time_s, width_s)
        first_s, first_width_s = self._first_beat
        beats = round((time_s - first_s) / rhythm.period_s)
        uncertainty_s = math.hypot(width_s, first_width_s) / math.sqrt(12) / max(beats, 1)
        if beats >= 1 and uncertainty_s < 1.5 * rhythm.period_uncertainty_s:
            rhythm.period_s = (time_s - first_s) / beats
            rhythm.period_uncertainty_s = uncertainty_s
        if beats > 600:  # the card's clock drifts against ours: forget what is long ago
            self._first_beat = (time_s, width_s)
            rhythm.period_uncertainty_s = max(rhythm.period_uncertainty_s, 1e-5)
        rhythm.anchor_s = time_s
        if self._first_rhythm is None and beats >= SETTLED_BEATS:
            self._first_rhythm = replace(rhythm)

    def _search(self, refresh: Refresh, width_s: float) -> None:
        """Look for a rhythm in the refreshes seen so far."""
        if self._moves_in_a_row >= 8 and width_s < TIGHT_S:
            self.continuous = True
            return
        if width_s > TIGHT_S:
            # After a rest: look closely from here on, if this was no lone step.
            if refresh.time_s - self.refreshes[-2].time_s < SEARCH_S:
                self._search_began_s = refresh.time_s
            self._tight = []
            return
        self._search_began_s = refresh.time_s
        self._tight.append(refresh)
        if self._known_period is not None:
            known, self._known_period = self._known_period, None
            self._rhythm_since_s = min(self._rhythm_since_s, refresh.time_s)
            self.rhythm = Rhythm(refresh.time_s, known.period_s, known.period_uncertainty_s)
            self._first_beat = None
            self._follow_closely(refresh.time_s)
            return
        times = [r.time_s for r in self._tight[-3:]]
        if len(times) < 3 or not self._stood_still:
            return
        gaps = [b - a for a, b in itertools.pairwise(times)]
        period_s = min(gaps)
        off_s = max(abs(gap - round(gap / period_s) * period_s) for gap in gaps)
        if period_s > LONGEST_PERIOD_S or off_s > TIGHT_S or off_s > period_s / 2:
            return
        beats = sum(round(gap / period_s) for gap in gaps)
        period_s = sum(gaps) / beats
        self._rhythm_since_s = min(self._rhythm_since_s, times[-1])
        self.rhythm = Rhythm(times[-1], period_s, width_s / math.sqrt(6) / beats)
        self._first_beat = (times[0], width_s)
        self._strays, self._margin_s = 0, max(2 * MARGIN_S, width_s)

    def _search_again(self, now_s: float) -> None:
        self.rhythm, self._known_period, self._tight = None, None, []
        self._restarts += 1
        self._search_began_s, self._strays = now_s, 0

    def _plan(self, now_s: float) -> None:
        if self.continuous:
            self.next_look_s = now_s + CONTINUOUS_GAP_S
        elif self.rhythm is None:
            searched_s = now_s - self._search_began_s
            gap_s = (
                IRREGULAR_GAP_S
                if self._restarts > RESTARTS
                else SEARCH_GAP_S
                if searched_s < FAST_SEARCH_S and len(self.refreshes) < 8
                else SLOW_SEARCH_GAP_S
                if searched_s < SEARCH_S
                else STILL_GAP_S
            )
            self.next_look_s = now_s + gap_s
        else:
            self.next_look_s = self._next_on_the_beat(self.rhythm, now_s)

    def _stride(self, rhythm: Rhythm, now_s: float) -> int:
        """Return how many beats ahead to look: of a count as many as can be foretold."""
        if self._every_refresh or now_s < self._closely_until_s:
            return 1
        stride = math.ceil(TRACKED_GAP_S / rhythm.period_s - 0.01)
        return max(1, min(stride, self._foretold(rhythm) // UNCHECKED_BEATS))

    def _foretold(self, rhythm: Rhythm) -> int:
        """Return how many beats ahead the rhythm is known to the margin."""
        doubt_s = max(2 * rhythm.period_uncertainty_s, 1e-9)
        return max(1, int(max(self._margin_s, 2 * MARGIN_S) / doubt_s))

    def _next_on_the_beat(self, rhythm: Rhythm, now_s: float) -> float:
        # The first value's refresh is not known yet.
        seen = len(self.refreshes) > 1
        last_s = rhythm.nearest(self.refreshes[-1].time_s) if seen else rhythm.anchor_s
        stride = self._stride(rhythm, now_s)
        if stride > 1 and self._beats_since_tight < UNCHECKED_BEATS:
            # Halfway between two beats it is plain of which the value is.
            step_s = stride * rhythm.period_s
            halfway_s = last_s + rhythm.period_s / 2
            return halfway_s + max(1, math.floor((now_s - halfway_s) / step_s + 1)) * step_s
        # Where nothing moved for some beats, the power is constant: on to the next.
        given_up_s = now_s - self._margin_s - min(rhythm.period_s / 4, OVERDUE_S)
        beats = max(1, math.ceil((given_up_s - last_s) / rhythm.period_s))
        due_s = last_s + beats * rhythm.period_s
        # Before a beat, too, to know it by both sides; where each is looked at, of some.
        unchecked = min(UNCHECKED_BEATS, self._foretold(rhythm))
        if self._margin_s > 2 * MARGIN_S:
            unchecked = 1
        both_sides = stride > 1 or self._beats_since_tight >= unchecked
        if both_sides and now_s < due_s - self._margin_s - 1e-4:
            return due_s - self._margin_s
        if now_s < due_s + self._margin_s:
            return due_s + self._margin_s
        return now_s + 2 * self._margin_s

    def timeline(self) -> list[Refresh]:
        """Return the refreshes so far, those before the rhythm was known put where it has them.

        What the first look found had been refreshed some time before, which no look could see.
        """
        if self.continuous:  # each value is that of the moment in which it was read
            return [Refresh(r.read_s, READ_S, r.value, r.read_s) for r in self.refreshes]
        if len(self.refreshes) < 2:
            return list(self.refreshes)
        rhythm = self._first_rhythm or self.rhythm
        timeline = [self.refreshes[0], *(self._set_right(r, rhythm) for r in self.refreshes[1:])]
        first, second = timeline[:2]
        if rhythm is None:
            unknown_s = max(0.0, USUAL_PERIOD_S - (second.time_s - first.time_s))
            time_s, uncertainty_s = first.time_s - unknown_s / 2, unknown_s / math.sqrt(12)
        else:
            # A window begins with a search or on each beat: close enough, if it was not held up,
            # not to miss the next refresh.
            missed = self.refreshes[1].uncertainty_s * math.sqrt(12) > rhythm.period_s / 2
            beat_s = rhythm.latest_until(first.read_s) if missed else math.inf
            since_s = (1 + self._left_out_first) * rhythm.period_s
            time_s = min(first.time_s, second.time_s - since_s, beat_s)
            uncertainty_s = math.hypot(second.uncertainty_s, rhythm.period_uncertainty_s)
        return [Refresh(time_s, uncertainty_s, first.value, first.read_s), *timeline[1:]]

    def _set_right(self, refresh: Refresh, rhythm: Rhythm | None) -> Refresh:
        """Return a refresh that was seen without the rhythm at the beat that it was on."""
        if rhythm is None or refresh.time_s >= self._rhythm_since_s:
            return refresh
        beat_s = rhythm.latest_until(refresh.read_s + self._margin_s)
        uncertainty_s = rhythm.uncertainty_s(beat_s, self._margin_s)
        # Its bracket is four standard uncertainties wide, less a little.
        fits = abs(beat_s - refresh.time_s) <= 2 * refresh.uncertainty_s + uncertainty_s
        if not fits or uncertainty_s >= refresh.uncertainty_s:
            return refresh
        return Refresh(beat_s, uncertainty_s, refresh.value, refresh.read_s)
