"""Steps by which the picture of a kiosk gets simpler where its machine does not keep up."""

from __future__ import annotations

import re

import pytest

from rtsearch.config import ShowSettings
from rtsearch.live.load_steps import STEPS, LoadSteps, lightened, reduced


class Machine:
    """A run that is looked at ten times a second."""

    def __init__(self) -> None:
        self.steps = LoadSteps()
        self.now_s = self.worked_s = 0.0
        self.frames = self.drawn = 0

    def go(self, for_s: float, share: float, busy: float = 0.2, fps: int = 30) -> list[int]:
        """Play for a time; return the steps, each once."""
        seen = [self.steps.step]
        for _ in range(round(10 * for_s)):
            self.now_s, self.worked_s = self.now_s + 0.1, self.worked_s + 0.1 * busy
            self.frames, self.drawn = self.frames + fps // 10, self.drawn + round(share * fps / 10)
            step = self.steps.update(self.now_s, self.frames, self.drawn, self.worked_s)
            if step != seen[-1]:
                seen.append(step)
        return seen


def test_too_few_frames_lead_down_step_by_step_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    assert machine.go(60, 1.0) == [0]
    assert machine.go(60, 0.33) == [0, 1, 2, 3]
    assert machine.go(60, 0.33) == [STEPS]
    assert len(caplog.messages) == 1
    assert re.match("this machine draws 4[01] % of the frames", caplog.messages[0])


def test_room_leads_back_and_what_was_too_much_waits_longer(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    machine.go(60, 0.33)
    assert machine.go(600, 1.0, busy=0.8) == [3]  # it draws all, but only just
    assert machine.go(2000, 1.0) == [3, 2, 1, 0]
    before = machine.now_s
    machine.go(6, 0.33)
    while machine.go(5, 1.0)[-1]:
        pass
    assert machine.now_s - before > 300
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(("share", "fps"), [(0.7, 30), (0.5, 60), (1.0, 10)])
def test_fluent_enough_is_enough(share: float, fps: int) -> None:
    assert Machine().go(120, share, fps=fps) == [0]


def test_a_camera_that_is_lost_is_no_load() -> None:
    assert Machine().go(120, 0.0, fps=0) == [0]


def test_what_each_step_leaves_out() -> None:
    show = ShowSettings(results=16)
    assert [reduced((1920, 1080), step) for step in range(4)] == [(1920, 1080), *[(1280, 720)] * 3]
    assert lightened(show, 0) == lightened(show, 1) == show
    light = lightened(show, 2)
    assert (light.results, light.fill) == (8, False)
