"""The control timeline: what is known is interpolated, what is not is guessed carefully."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.geometry import Pose, angle_between_deg, quaternion_from_rotation_vector
from bridge.input.control_timeline import ClientClock, ControlTimeline, InputChanges, TimedControl
from bridge.input.motion_prediction import MotionLimits, PredictionConfig
from bridge.protocol.fields import MAX_TEXT_BYTES
from bridge.protocol.messages import Control, Event, SceneUpdate

TICK_US = 16_667
CONFIG = PredictionConfig()


def pose(x: float = 0.0, yaw_deg: float = 0.0, fov: float = 70.0) -> Pose:
    return Pose(
        position=np.array([x, 1.6, 0.0]),
        rotation=quaternion_from_rotation_vector(np.array([0.0, np.radians(yaw_deg), 0.0])),
        vertical_fov_deg=fov,
    )


def damped_s(ahead_s: float | np.ndarray, damping_us: int = CONFIG.damping_us) -> np.ndarray:
    """How long at full speed takes as far as `ahead_s` at a speed that dies away."""
    return damping_us * 1e-6 * (1 - np.exp(-np.asarray(ahead_s) / (damping_us * 1e-6)))


def control(time_us: int, camera: Pose, *, action: str = "", cut: bool = False) -> TimedControl:
    return TimedControl(time_us=time_us, arrival_us=time_us, pose=camera, action=action, cut=cut)


def walk(ticks: int, *, m_per_s: float = 0.0, deg_per_s: float = 0.0) -> ControlTimeline:
    timeline = ControlTimeline()
    for tick in range(ticks):
        seconds = tick * TICK_US * 1e-6
        timeline.push(control(tick * TICK_US, pose(m_per_s * seconds, deg_per_s * seconds)))
    return timeline


def yaw_deg(rotation: np.ndarray) -> float:
    return angle_between_deg(pose().rotation, rotation)


def test_without_a_control_there_is_no_window() -> None:
    with pytest.raises(ValueError, match="no control yet"):
        ControlTimeline().take_window(start_us=0, frames=1, fps=24)


def test_one_control_stands_still() -> None:
    timeline = ControlTimeline()
    timeline.push(control(1000, pose(3.0, 30.0), action="walk"))
    window = timeline.take_window(start_us=500_000, frames=5, fps=24)
    assert window.positions == pytest.approx(np.tile([3.0, 1.6, 0.0], (5, 1)))
    assert [yaw_deg(q) for q in window.rotations] == pytest.approx([30.0] * 5)
    assert window.actions == ("walk",) * 5
    assert window.newest_control_t_us == 1000


def test_known_moments_are_interpolated_and_actions_switch_when_they_came() -> None:
    timeline = ControlTimeline()
    timeline.push(control(0, pose(0.0, 0.0, 60.0), action="a"))
    timeline.push(control(100_000, pose(1.0, 40.0, 80.0), action="b"))
    window = timeline.take_window(start_us=0, frames=4, fps=40)  # 0, 25, 50, 75 ms
    assert window.positions[:, 0] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert [yaw_deg(q) for q in window.rotations] == pytest.approx([0.0, 10.0, 20.0, 30.0], abs=1e-9)
    assert window.vertical_fov_deg == pytest.approx([60.0, 65.0, 70.0, 75.0])
    assert window.actions == ("a",) * 4
    assert timeline.take_window(start_us=90_000, frames=2, fps=40).actions == ("a", "b")


def test_constant_motion_is_continued_and_dies_away() -> None:
    timeline = walk(20, m_per_s=2.0, deg_per_s=60.0)
    newest = timeline.newest
    assert newest is not None
    window = timeline.take_window(start_us=newest.time_us, frames=3, fps=10)
    ahead_s = np.array([0.0, 0.1, 0.2])
    assert window.positions[:, 0] == pytest.approx(newest.pose.position[0] + 2.0 * damped_s(ahead_s))
    newest_yaw = yaw_deg(newest.pose.rotation)
    assert [yaw_deg(q) for q in window.rotations] == pytest.approx(
        newest_yaw + 60.0 * damped_s(ahead_s, CONFIG.turn_damping_us)
    )
    far = timeline.take_window(start_us=newest.time_us + 20_000_000, frames=1, fps=24)
    longest_s = CONFIG.longest_ahead_us * 1e-6
    assert far.positions[0, 0] == pytest.approx(newest.pose.position[0] + 2.0 * damped_s(longest_s))
    assert np.linalg.norm(window.rotations, axis=1) == pytest.approx(1.0)


def test_turning_through_the_back_takes_the_short_way() -> None:
    timeline = ControlTimeline()
    for tick, yaw in enumerate((170.0, 175.0, 180.0, 185.0)):
        sign = -1.0 if tick % 2 else 1.0  # q and -q are the same rotation
        camera = pose(0.0, yaw)
        timeline.push(
            control(tick * 20_000, Pose(position=camera.position, rotation=sign * camera.rotation, vertical_fov_deg=70))
        )
    window = timeline.take_window(start_us=60_000, frames=2, fps=50)
    expected = 185.0 + 250.0 * float(damped_s(0.02, CONFIG.turn_damping_us))
    assert angle_between_deg(window.rotations[1], pose(0.0, expected).rotation) == pytest.approx(0.0, abs=1e-6)


def test_a_flick_is_clamped() -> None:
    timeline = walk(10, m_per_s=190.0, deg_per_s=3000.0)
    newest = timeline.newest
    assert newest is not None
    window = timeline.take_window(start_us=newest.time_us + 10_000_000, frames=1, fps=24)
    assert angle_between_deg(newest.pose.rotation, window.rotations[0]) <= CONFIG.max_turn_deg + 1e-6
    furthest_m = MotionLimits().speed_m_per_s * CONFIG.longest_ahead_us * 1e-6
    assert window.positions[0, 0] - newest.pose.position[0] <= furthest_m


def test_what_a_client_declares_bounds_the_prediction() -> None:
    timeline = ControlTimeline(limits=MotionLimits(speed_m_per_s=1.0, turn_rate_deg_per_s=10.0))
    for tick in range(20):
        seconds = tick * TICK_US * 1e-6
        timeline.push(control(tick * TICK_US, pose(6.0 * seconds, 120.0 * seconds)))
    newest = timeline.newest
    assert newest is not None
    window = timeline.take_window(start_us=newest.time_us + 100_000, frames=1, fps=24)
    assert window.positions[0, 0] - newest.pose.position[0] == pytest.approx(float(damped_s(0.1)))
    turned_deg = angle_between_deg(newest.pose.rotation, window.rotations[0])
    assert turned_deg == pytest.approx(10.0 * float(damped_s(0.1, CONFIG.turn_damping_us)))


def test_duplicates_and_equal_times_do_not_disturb() -> None:
    plain, doubled = walk(10, m_per_s=2.0), ControlTimeline()
    for tick in range(10):
        for _ in range(3):
            doubled.push(control(tick * TICK_US, pose(2.0 * tick * TICK_US * 1e-6)))
    wanted = plain.take_window(start_us=200_000, frames=5, fps=24)
    got = doubled.take_window(start_us=200_000, frames=5, fps=24)
    assert got.positions == pytest.approx(wanted.positions)


def test_a_slow_client_is_predicted_from_its_two_newest() -> None:
    timeline = ControlTimeline()
    timeline.push(control(0, pose(0.0)))
    timeline.push(control(200_000, pose(0.4)))
    window = timeline.take_window(start_us=300_000, frames=1, fps=24)
    assert window.positions[0, 0] == pytest.approx(0.4 + 2.0 * float(damped_s(0.1)))


def test_after_a_long_silence_nothing_is_predicted() -> None:
    timeline = ControlTimeline()
    timeline.push(control(0, pose(0.0)))
    timeline.push(control(900_000, pose(4.0)))
    assert timeline.take_window(start_us=1_000_000, frames=1, fps=24).positions[0, 0] == pytest.approx(4.0)


@pytest.mark.parametrize("announced", [True, False])
def test_a_teleport_is_a_cut_and_nothing_is_carried_across(announced: bool) -> None:
    timeline = walk(10, m_per_s=2.0)
    assert timeline.epoch == 0
    jumped = timeline.push(control(10 * TICK_US, pose(80.0), cut=announced))
    assert jumped
    assert timeline.epoch == 1
    window = timeline.take_window(start_us=9 * TICK_US, frames=5, fps=24)
    assert window.cut
    assert window.positions[:, 0] == pytest.approx([80.0] * 5)
    assert not timeline.take_window(start_us=10 * TICK_US, frames=5, fps=24).cut


def test_scene_updates_and_events_are_handed_out_once_in_order_and_can_be_given_back() -> None:
    timeline = walk(3)
    first, second, third = (SceneUpdate(seed=seed) for seed in range(3))
    timeline.push_scene(first)
    timeline.push_scene(second)
    timeline.push(control(60_000, pose(), action="walk"), events=("door opens", "bell"))
    window = timeline.take_window(start_us=60_000, frames=2, fps=24)
    assert window.scene_updates == (first, second)
    assert window.actions == ("walk; door opens; bell",) * 2
    timeline.push_scene(third)
    timeline.give_back(window)
    again = timeline.take_window(start_us=60_000, frames=2, fps=24)
    assert again.scene_updates == (first, second, third)
    assert again.actions == ("walk; door opens; bell",) * 2
    last = timeline.take_window(start_us=60_000, frames=2, fps=24)
    assert (last.scene_updates, last.actions) == ((), ("walk", "walk"))


def test_what_the_model_is_told_fits_a_frames_header() -> None:
    timeline = ControlTimeline()
    for number in range(500):
        timeline.push(control(number, pose(), action="é" * 1000), ("ü" * 700, f"event {number}"))
    (told,) = timeline.take_window(start_us=0, frames=1, fps=24).actions
    assert len(told.encode()) == MAX_TEXT_BYTES
    assert told.startswith("é" * 1000 + "; ü")


def test_events_that_no_chunk_takes_are_bounded_and_the_newest_stay() -> None:
    timeline = ControlTimeline()
    for number in range(500):
        timeline.push(control(number, pose()), (f"e{number}",))
    first = timeline.take_window(start_us=0, frames=1, fps=24)
    assert first.actions[0].split("; ") == [f"e{number}" for number in range(436, 500)]
    timeline.push(control(500, pose()), ("e500",))
    timeline.give_back(first)
    again = timeline.take_window(start_us=0, frames=1, fps=24)
    assert again.actions[0].split("; ") == [f"e{number}" for number in range(437, 501)]


def test_old_controls_are_forgotten() -> None:
    timeline = walk(600, m_per_s=1.0)
    window = timeline.take_window(start_us=0, frames=1, fps=24)
    assert window.positions[0, 0] == pytest.approx(599 * TICK_US * 1e-6 - 2.0, abs=0.02)


def test_client_clock_removes_jitter_but_not_motion() -> None:
    clock = ClientClock()
    delays_us = [5_000, 9_000, 5_000, 25_000, 6_000]
    mapped = [
        clock.server_time_us(arrival_us=1_000_000_000 + tick * TICK_US + delay, client_us=tick * TICK_US)
        for tick, delay in enumerate(delays_us)
    ]
    assert np.diff(mapped) == pytest.approx([TICK_US] * 4)


def test_client_clock_bounds_nonsense() -> None:
    clock = ClientClock()
    last = -1
    for arrival, client in [(1_000_000, 0), (1_010_000, 2**53 - 1), (1_020_000, 0), (1_030_000, 5), (1_040_000, 2**52)]:
        mapped = clock.server_time_us(arrival_us=arrival, client_us=client)
        assert arrival - 250_000 <= mapped <= arrival
        assert mapped >= last
        last = mapped


def message(action: str = "", *events: Event) -> Control:
    return Control(
        seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0, action=action,
        events=events,
    )  # fmt: skip


def test_an_event_and_another_action_are_news_until_a_chunk_is_asked_for() -> None:
    changes = InputChanges()
    changes.note(message(), paused=False)
    assert not changes.waits
    for told in (message("rain"), message("rain", Event(kind="door", value="open"))):
        changes.note(told, paused=False)
        assert changes.waits
        assert not changes.take("rain")
        changes.note(message("rain"), paused=False)
        assert not changes.waits


def test_a_chunk_comes_after_a_pause_once() -> None:
    changes = InputChanges()
    changes.note(message(), paused=True)
    changes.note(message(), paused=False)
    assert [changes.take(""), changes.take("")] == [True, False]


def test_a_chunk_that_was_not_begun_leaves_all_as_it_was() -> None:
    changes = InputChanges()
    changes.note(message("rain"), paused=True)
    changes.take("rain")
    changes.give_back()
    assert changes.waits
    assert changes.take("rain")
    changes.note(message(""), paused=False)
    changes.take("")
    changes.give_back()
    changes.note(message("rain"), paused=False)
    assert changes.take("rain") is False
    changes.take("")
    changes.give_back()
    changes.note(message("rain"), paused=False)
    assert not changes.waits  # "rain" is what the newest chunk was told


@pytest.mark.parametrize(
    ("metres", "after_us", "jumped"),
    [(4.9, TICK_US, False), (5.1, TICK_US, True), (5.1, 26_000, False), (6.0, 29_000, True)],
)
def test_a_step_both_long_and_fast_is_a_jump(metres: float, after_us: int, jumped: bool) -> None:
    timeline = ControlTimeline()
    for time_us, x in ((0, 0.0), (after_us, metres)):
        pose = Pose(position=np.array([x, 1.6, 0.0]), rotation=np.array([0.0, 0.0, 0.0, 1.0]), vertical_fov_deg=60.0)
        cut = timeline.push(TimedControl(time_us=time_us, arrival_us=time_us, pose=pose, action=""))
    assert cut is jumped


def test_the_client_clock_forgets_the_fastest_message_after_its_window() -> None:
    clock = ClientClock(window_us=2_000_000)
    clock.server_time_us(arrival_us=1_000_000, client_us=0)
    for client_us in range(TICK_US, 1_900_000, TICK_US):  # from here on every message takes 50 ms longer
        arrival_us = 1_050_000 + client_us
        assert clock.server_time_us(arrival_us=arrival_us, client_us=client_us) == arrival_us - 50_000
    arrival_us = 1_050_000 + 2_100_000
    assert clock.server_time_us(arrival_us=arrival_us, client_us=2_100_000) == arrival_us
