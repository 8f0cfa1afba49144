"""What will run out, and when: the probability for each hour, from the forecast's quantiles. Rules without I/O.

An article has run out when nothing of it is left in the shop, on the shelf or in the back. See ``docs/restocking.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from replenishment.demand import Array, Courses

HOURS = 48


@dataclass(frozen=True)
class Clock:
    """How demand goes through the hours ahead.

    ``shares[d]`` tells for the d-th day from today on how much of what is still to come that day has been sold by its end of
    each hour: ``ends`` are the hours ahead (1 to ``HOURS``), ``days`` the day that each belongs to.
    """

    days: npt.NDArray[np.int64]
    """Of shape (HOURS,): 0 for today."""
    shares: Array
    """Of shape (HOURS,): the share of that day's courses that is sold by the end of the hour, 0 to 1."""

    @property
    def horizon_days(self) -> int:
        """Days that the hours touch."""
        return int(self.days[-1]) + 1


def clock(profile: Sequence[float], hour: float, hours: int = HOURS) -> tuple[Clock, float]:
    """The hours ahead by a profile of the day.

    Args:
        profile: the share of a day's sales in each of its 24 hours; all zero counts as even.
        hour: the time of the day by the shop's clock, in hours, 0 to 24.

    Returns:
        The clock, and the share of today's sales still to come.
    """
    day = np.asarray(profile, dtype=np.float64)
    day = day / day.sum() if day.sum() > 0 else np.full(24, 1 / 24)
    by_hour = np.concatenate([[0.0], np.cumsum(day)])
    ends = hour + 1 + np.arange(hours)
    # The end of a day belongs to it, not to the next.
    days = np.ceil(ends / 24 - 1e-12).astype(np.int64) - 1
    sold = np.minimum(1.0, np.interp(ends - 24 * days, np.arange(25), by_hour))
    gone = float(np.interp(hour, np.arange(25), by_hour))
    left = 1.0 - gone if gone < 1 - 1e-9 else 0.0
    first = days == 0
    sold[first] = (sold[first] - gone) / left if left else 1.0
    return Clock(days, np.clip(sold, 0.0, 1.0)), left


def stockout_risk(
    courses: Courses, clock: Clock, on_hand: float, arrivals: Sequence[tuple[float, float]] = ()
) -> Array:
    """The probability that nothing is left at the end of each hour ahead or was left at some time before it.

    In each course of demand the last unit on hand is sold on the day whose sales reach it. When in that day: of n sales that
    come at random times the k-th has come by a share of the day that is beta(k, n - k + 1) distributed (order statistics).

    Args:
        courses: of as many days as the clock has.
        clock: the hours ahead.
        on_hand: units left; nothing or less has run out.
        arrivals: what is known to arrive: (hours from now, units), in any order.

    Returns:
        Of shape (HOURS,), never falling from one hour to the next, 0 to 1.
    """
    if on_hand <= 0:
        return np.ones(len(clock.days))
    hours = _runs_out(courses, clock, on_hand)
    held = on_hand
    for at, units in sorted(arrivals):
        held += max(0.0, units)
        # Courses that last until the delivery go on with it; one that had run out before stays run out.
        hours = np.where(hours >= at, np.maximum(hours, _runs_out(courses, clock, held)), hours)
    return np.asarray((hours[None, :] < np.arange(1, len(clock.days) + 1)[:, None]).mean(axis=1))


def _runs_out(courses: Courses, clock: Clock, units: float) -> Array:
    """By course: in which hour ahead (0 for the first) that many units are sold; infinite if not within the clock."""
    from scipy.special import betaincinv

    sold = np.cumsum(courses.totals, axis=0)
    day = (sold < units - 1e-9).sum(axis=0)
    reached = day < len(sold)
    column = np.arange(sold.shape[1])
    of_day = np.minimum(day, len(sold) - 1)
    totals = courses.totals[of_day, column]
    before = sold[of_day, column] - totals
    k = np.clip(units - before, 1e-9, None)
    n = np.maximum(totals, k)
    at = np.asarray(betaincinv(k, n - k + 1, courses.placed[of_day, column]))
    hours = np.full(sold.shape[1], np.inf)
    for number in np.unique(of_day[reached]):
        mine = reached & (of_day == number)
        ends = np.flatnonzero(clock.days == number)
        # What is sold after the last full hour of a day is sold in the hour that reaches into the next.
        found = ends[0] + np.searchsorted(clock.shares[ends], at[mine] - 1e-12)
        hours[mine] = np.where(found < len(clock.days), found, np.inf)
    return hours


def asked_for(courses: Courses, clock: Clock) -> Array:
    """By course: units asked for by the end of the clock."""
    shares = np.ones(clock.horizon_days)
    shares[-1] = clock.shares[-1]
    return np.asarray(shares @ courses.totals[: clock.horizon_days])


def lost_units(asked: Array, on_hand: float, arriving: float = 0.0) -> float:
    """Units that will be asked for and not be there, on the mean; ``asked`` by course, as ``asked_for`` tells."""
    return float(np.maximum(0.0, asked - max(0.0, on_hand) - max(0.0, arriving)).mean())
