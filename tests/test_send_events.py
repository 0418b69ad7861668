"""Events of tracks: new, update, end, and no more of them than needed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sent import person, scene

from rtsearch.recording import json_line
from rtsearch.send.events import EventFinder


def found(finder: EventFinder, shown) -> list[tuple[str, int, float]]:
    return [(e["event"], e["object"]["track"], e["t_s"]) for e in finder.events(shown)]


def test_no_objects_make_no_events():
    finder = EventFinder()
    assert [found(finder, scene(i)) for i in range(3)] == [[], [], []]


def test_an_object_comes_moves_and_goes():
    finder = EventFinder()
    assert found(finder, scene(0, [person(3)])) == [("new", 3, 0.0)]
    assert found(finder, scene(1, [person(3), person(4)])) == [("new", 4, 0.04)]
    assert found(finder, scene(20, [person(3, 300.0), person(4)])) == []  # within a second
    assert found(finder, scene(25, [person(3, 300.0), person(4)])) == [("update", 3, 1.0)]
    assert found(finder, scene(75, [person(3, 300.0)])) == [("end", 4, 3.0)]
    assert found(finder, scene(76)) == [("end", 3, 3.04)]
    assert found(finder, scene(77)) == []


@pytest.mark.parametrize(
    ("later", "kinds"),
    [
        (scene(99, [person(3)]), []),
        (scene(99, [person(3, 64.0 + 12)]), []),  # less than 2 % of the frame
        (scene(99, [person(3, 64.0 + 14)]), ["update"]),
        (scene(99, [person(3)], row=8), ["update"]),
        (scene(99, [(3, 1, person(3)[2])]), ["update"]),
        (scene(99, [person(3, 300.0)], row=8, missed=1), []),  # its box is only expected there
    ],
)
def test_only_changes_are_updates(later, kinds):
    finder = EventFinder()
    found(finder, scene(0, [person(3)]))
    assert [kind for kind, _, _ in found(finder, later)] == kinds


def test_an_event_has_the_values_of_records():
    finder = EventFinder()
    (event,) = finder.events(scene(5, [person(3)]))
    assert json_line(event)
    time = datetime.fromisoformat(event.pop("time"))
    assert abs((datetime.now(UTC) - time).total_seconds()) < 600
    shown = scene(5, [person(3)]).item(0)
    assert event == {
        "event": "new",
        "frame": 5,
        "t_s": 0.2,
        "wh": [640, 480],
        "object": shown,
    }
    (ended,) = finder.events(scene(6))
    assert (ended["event"], ended["frame"], ended["object"]) == ("end", 6, event["object"])


def test_an_event_that_was_not_told_is_found_again():
    finder = EventFinder()
    found(finder, scene(0, [person(1)]))
    for event in finder.events(scene(1, [person(2)])):
        assert event["event"] == "end"
        break  # as where the sending fails
    assert found(finder, scene(2, [person(2)])) == [("end", 1, 0.08), ("new", 2, 0.08)]
