"""Staff by tables of looks: a digit is the share of uniform in tenths, a space a look that tells nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.staff import Staff
from schemas.events import StaffRules

RULES = StaffRules(uniform=["#1a5fb4"], score=0.5, looks=4, zone_s=5)


def after(looks: str) -> Staff:
    staff = Staff.of(RULES)
    for look in looks:
        staff.see(None if look == " " else int(look) / 10)
    return staff


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        ("", False),
        ("999", False),
        ("9999", True),
        ("9 9  9 9", True),
        ("0000", False),
        # A mean decides, not a look: an arm before the chest, a customer's bag in the shop's colour.
        ("9990999", True),
        ("0009000", False),
        # Between 0.35 and 0.5 the verdict stays as it is.
        ("9999" + "4" * 30, True),
        ("4" * 30, False),
        ("9999" + "0" * 30, False),
    ],
)
def test_a_uniform(looks: str, verdict: bool) -> None:
    assert after(looks).verdict is verdict


@pytest.mark.parametrize(("seconds", "verdict"), [((3,), False), ((5,), True), ((3, 2), True), ((1, 1, 1), False)])
def test_where_only_staff_go(seconds: tuple[int, ...], verdict: bool) -> None:
    staff = Staff.of(RULES)
    for second in seconds:
        staff.stay(True, 1000 * second)
        staff.stay(False, 60_000)
    assert staff.verdict is verdict


def test_who_was_behind_the_counter_is_staff_in_any_clothes() -> None:
    staff = after("0000")
    staff.stay(True, 6000)
    staff.see(0.0)
    assert staff.verdict


@given(st.text("0123456789 ", max_size=12), st.text("0123456789 ", max_size=12))
def test_two_tracks_of_one_person_tell_what_one_would(first: str, second: str) -> None:
    joined, whole = after(first), after(first + second)
    joined.join(after(second))
    assert joined.seen == whole.seen
    if joined.seen:
        # Each track has forgotten its oldest looks by itself.
        assert joined.mean == pytest.approx(whole.mean, abs=0.1)
    if joined.seen >= 4 and whole.mean >= 0.52:
        assert joined.verdict
