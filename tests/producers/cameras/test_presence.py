"""One visitor's place by tables: one character is one look, 100 ms apart; no video."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cameras.presence import Draft, Presence, Sighting

STEP_MS = 100
# A look: zone and side of the line. Capitals and "." are on the inner side, "a" and "," on the outer, "|" beyond its
# ends; ":" and ";" are so near to the line, inside and outside, that the box may be swaying.
LOOKS = {
    "A": ("A", True, True),
    "B": ("B", True, True),
    ".": (None, True, True),
    "a": ("A", False, True),
    ",": (None, False, True),
    "|": (None, None, True),
    ":": (None, True, False),
    ";": (None, False, False),
}
DRAWN = {"C": frozenset("AB"), "D": frozenset("A"), "E": frozenset[str]()}


def run(looks: str, *others: str, step_ms: int = STEP_MS) -> list[Draft]:
    """What cameras C, D and E see of one person, one string each; a space is a look without them."""
    presence = Presence(DRAWN, 0)
    drafts: list[Draft] = []
    last_ms = 0
    for look in range(len(looks)):
        for camera_id, seen in zip("CDE", (looks, *others), strict=False):
            if look < len(seen) and seen[look] != " ":
                last_ms = look * step_ms
                drafts += presence.see(Sighting(camera_id, last_ms, *LOOKS[seen[look]], confidence=0.5))
    return [*drafts, *presence.leave_zone(last_ms)]


def brief(drafts: Iterable[Draft], step_ms: int = STEP_MS) -> str:
    """ "ENTER A@2, EXIT A@7/5": type, zone, look and, where it has one, dwell in looks."""
    return ", ".join(
        f"{draft.kind.removeprefix('ZONE_') if draft.zone else draft.kind}"
        f"{' ' + draft.zone if draft.zone else ''}@{draft.at_ms // step_ms}"
        f"{'/' + str(draft.dwell_ms // step_ms) if draft.dwell_ms else ''}"
        for draft in drafts
    )


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("..AAAAA...", "ENTER A@2, EXIT A@7/5"),
        ("....", ""),
        # Inertia: 0.2 s are a flicker, 0.3 s are a change, dated to the first look of it.
        ("..AA....", ""),
        ("..AAA..A..AA..", "ENTER A@2, EXIT A@12/10"),
        ("..AA.AA.AA.", ""),
        ("AAAA..AAAA", "ENTER A@0, EXIT A@9/9"),
        # From zone to zone, with and without steps between; a dithering edge does not end the first.
        ("AAAABBBB", "ENTER A@0, EXIT A@4/4, ENTER B@4, EXIT B@7/3"),
        ("AAAA...BBB", "ENTER A@0, EXIT A@4/4, ENTER B@7, EXIT B@9/2"),
        ("AAABABABAAA", "ENTER A@0, EXIT A@10/10"),
        # Looks that are missing change nothing.
        ("AAAA" + " " * 9 + "AAAA", "ENTER A@0, EXIT A@16/16"),
        ("AAAA..", "ENTER A@0, EXIT A@4/4"),
        # The same zone twice.
        ("AAA...AAA...", "ENTER A@0, EXIT A@3/3, ENTER A@6, EXIT A@9/3"),
    ],
)
def test_zones(looks: str, expected: str) -> None:
    assert brief(run(looks)) == expected


@pytest.mark.parametrize(("step_ms", "looks"), [(50, 6), (100, 3), (150, 2), (200, 2), (450, 2)])
def test_a_change_lasts_three_tenths_of_a_second_and_two_looks(step_ms: int, looks: int) -> None:
    assert brief(run("..." + "A" * (looks - 1) + "...", step_ms=step_ms)) == ""
    assert brief(run("..." + "A" * looks + "...", step_ms=step_ms), step_ms) == f"ENTER A@3, EXIT A@{3 + looks}/{looks}"


@pytest.mark.parametrize(("seconds", "dwells"), [(29, []), (30, [30]), (59, [30]), (60, [30, 60]), (95, [30, 60, 90])])
def test_dwell_comes_every_thirty_seconds(seconds: int, dwells: list[int]) -> None:
    drafts = run("A" * (2 * seconds + 1), step_ms=500)
    assert [draft.dwell_ms // 1000 for draft in drafts if draft.kind == "ZONE_DWELL"] == dwells
    assert all(draft.at_ms == draft.dwell_ms for draft in drafts[1:])
    assert (drafts[-1].kind, drafts[-1].dwell_ms) == ("ZONE_EXIT", seconds * 1000)


def test_a_dwell_missed_behind_an_occlusion_comes_once_and_keeps_the_thirty_second_beat() -> None:
    """At 5 s a look: hidden from 30 to 70 s, so the mark of 30 and that of 60 are both passed unseen."""
    drafts = run("A" * 6 + " " * 8 + "A" * 11, step_ms=5000)
    assert [draft.dwell_ms for draft in drafts if draft.kind == "ZONE_DWELL"] == [70_000, 90_000, 120_000]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        (",,,...", "ENTRY@3"),
        ("...,,,", "EXIT@3"),
        (",.....", "ENTRY@1"),
        (",,,..", ""),
        (".....", ""),
        (",,,,,", ""),
        # Dithering on the line counts nothing; each real crossing counts once.
        (",.,.,.,.,", ""),
        (",,,...,,,...,,,...", "ENTRY@3, EXIT@6, REENTRY@9, EXIT@12, REENTRY@15"),
        # Swaying beside the line is no step over it, until one look shows the person clear of it.
        (",,,:::::::", ""),
        (",,;:;:;::::;;", ""),
        (",,,::::.", "ENTRY@3"),
        (",,,.::", ""),
        (",,,.;:..", "ENTRY@5"),
        (",,,...;;;;;...", "ENTRY@3"),
        # Somebody who had left comes back.
        ("...,,,...", "EXIT@3, REENTRY@6"),
        # Beyond the line's ends there is no side; hidden on the doorstep, the side is remembered.
        (",,,|||...", "ENTRY@6"),
        (",,,      ...", "ENTRY@9"),
        # A zone on both sides of the line: leaving the shop leaves the zone.
        ("AAAaaaa", "ENTER A@0, EXIT A@3/3, EXIT@3"),
        ("AAAA,,,", "ENTER A@0, EXIT A@4/4, EXIT@4"),
        (",,,AAAA", "ENTRY@3, ENTER A@3, EXIT A@6/3"),
    ],
)
def test_the_entrance_line(looks: str, expected: str) -> None:
    assert brief(run(looks)) == expected


@pytest.mark.parametrize(
    ("looks", "other", "expected"),
    [
        # Two cameras, one zone visit; one crossing of a door that both see.
        ("AAAAAA", "AAAAAA", "ENTER A@0, EXIT A@5/5"),
        ("AAAAAA......", "....AAAAAA..", "ENTER A@0, EXIT A@10/10"),
        (",,,.....", ",,,,....", "ENTRY@3"),
        (",,,...,,,", ",,,...,,,", "ENTRY@3, EXIT@6"),
        # The other camera still sees the zone's edge otherwise: the visit stays.
        ("AAAAAAAA", "..AA..AA", "ENTER A@0, EXIT A@7/7"),
    ],
)
def test_two_cameras_see_one_person(looks: str, other: str, expected: str) -> None:
    assert brief(run(looks, other)) == expected


def test_a_camera_that_cannot_see_a_zone_says_nothing_against_it() -> None:
    hidden = "AAAA" + " " * 20 + "AAAA"
    elsewhere = "." * len(hidden)
    assert brief(run(hidden, "", elsewhere)) == "ENTER A@0, EXIT A@27/27"
    # The one that sees it does.
    assert brief(run(hidden, elsewhere)) == "ENTER A@0, EXIT A@14/14, ENTER A@24, EXIT A@27/3"


LOOKS_SEEN = st.text(alphabet=" ABa.,|:;", min_size=1, max_size=60)


@given(LOOKS_SEEN, LOOKS_SEEN)
def test_whatever_is_seen_visits_are_whole(looks: str, other: str) -> None:
    inside: Draft | None = None
    last: str | None = None
    for draft in sorted(run(looks, other), key=lambda draft: draft.at_ms):
        if draft.kind == "ZONE_ENTER":
            assert inside is None
            inside = draft
        elif draft.kind == "ZONE_EXIT":
            assert inside is not None and inside.zone == draft.zone
            assert draft.at_ms - inside.at_ms == draft.dwell_ms
            inside = None
        elif draft.kind != "ZONE_DWELL":
            # Crossings alternate.
            assert last != draft.kind and (last in (None, "EXIT") or draft.kind == "EXIT")
            last = draft.kind
    assert inside is None
