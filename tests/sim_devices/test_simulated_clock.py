import threading

import pytest

from sim_devices.clock import FOLLOWER_LATENCY_S, SimulatedClock


class HandMovedWall:
    """Host time that passes only when somebody waits or moves it."""

    def __init__(self):
        self.time = 1000.0
        self.waits = 0
        self.on_wait = None

    def now(self):
        return self.time

    def wait(self, condition, timeout_s):
        del condition
        self.waits += 1
        if self.on_wait is not None:
            self.on_wait()
        if timeout_s is not None:
            self.time += timeout_s


@pytest.fixture
def wall():
    return HandMovedWall()


def test_without_hurry_a_cell_second_is_a_host_second(wall):
    clock = SimulatedClock(1000.0, wall=wall)
    wall.time += 3.0
    assert clock.now() == pytest.approx(3.0)
    assert clock.rate == 1.0


def test_the_factor_applies_only_while_somebody_hurries(wall):
    clock = SimulatedClock(100.0, wall=wall)
    with clock.hurry("script"):
        wall.time += 2.0
        assert clock.now() == pytest.approx(200.0)
    wall.time += 2.0
    assert clock.now() == pytest.approx(202.0)


def test_an_open_exchange_holds_the_clock_at_real_time_whoever_hurries(wall):
    clock = SimulatedClock(100.0, wall=wall)
    with clock.hurry("script"):
        with clock.exchange("lamp"), clock.exchange("laser"):
            assert clock.open_exchanges == ("lamp", "laser")
            wall.time += 1.0
            assert clock.now() == pytest.approx(1.0)
        assert clock.rate == 100.0
    assert clock.open_exchanges == ()


def test_a_clock_that_is_held_all_but_stands_still_whoever_hurries(wall):
    clock = SimulatedClock(100.0, wall=wall)
    with clock.hurry("script"):
        with clock.held("fault"), clock.exchange("lamp"):
            wall.time += 100.0
            assert 0.0 < clock.now() < 0.1
        assert clock.rate == 100.0


def test_a_clock_can_be_held_once_its_leader_gets_to_a_time(wall):
    clock = SimulatedClock(100.0, wall=wall)
    reached = []
    with clock.hurry("script"):
        with clock.held_from(5.0, "fault", lambda: reached.append(clock.now())):
            assert clock.wait_until(4.0)
            assert (clock.rate, reached) == (100.0, [])
            assert not clock.wait_until(6.0, unless=lambda: True)
            assert reached == [pytest.approx(4.0)]
            wall.time += 100.0
            assert 4.0 < clock.now() < 4.1
            assert not clock.wait_until(7.0, unless=lambda: True)
            assert len(reached) == 1
        assert clock.rate == 100.0


def test_two_exchanges_for_one_reason_both_have_to_close(wall):
    clock = SimulatedClock(100.0, wall=wall)
    with clock.hurry("script"):
        clock.open_exchange("lamp")
        clock.open_exchange("lamp")
        clock.close_exchange("lamp")
        assert clock.rate == 1.0
        clock.close_exchange("lamp")
        assert clock.rate == 100.0
    with pytest.raises(ValueError, match="lamp"):
        clock.close_exchange("lamp")


def test_the_tolerance_of_followers_caps_the_factor(wall):
    clock = SimulatedClock(4000.0, tolerance_s=10.0, wall=wall)
    with clock.hurry("script"):
        assert clock.rate == pytest.approx(10.0 / FOLLOWER_LATENCY_S)
    slow = SimulatedClock(4000.0, tolerance_s=0.001, wall=wall)
    with slow.hurry("script"):
        assert slow.rate == 1.0


@pytest.mark.parametrize("arguments", [{"factor": 0.0}, {"factor": 10.0, "tolerance_s": -1.0}])
def test_a_factor_or_tolerance_that_is_not_positive_is_refused(arguments):
    with pytest.raises(ValueError, match="positive"):
        SimulatedClock(**arguments)


def test_a_leader_waits_until_the_clock_gets_there(wall):
    clock = SimulatedClock(10.0, wall=wall)
    with clock.hurry("script"):
        assert clock.wait_until(50.0)
    assert wall.time == pytest.approx(1005.0)
    assert clock.now() == pytest.approx(50.0)


def test_the_clock_never_passes_the_time_its_leader_has_reached(wall):
    clock = SimulatedClock(1.0, wall=wall)
    clock.wait_until(5.0)
    wall.time += 100.0
    assert clock.now() == 5.0


def test_a_leader_that_is_far_too_late_makes_the_clock_slip(wall):
    clock = SimulatedClock(1.0, wall=wall)
    clock.wait_until(5.0)
    wall.time += 100.0
    before = wall.time
    assert clock.wait_until(6.0)  # it does not wait
    assert wall.time == before
    assert clock.wait_until(7.0)  # and the lost time is not made up
    assert wall.time == pytest.approx(before + 1.0)


def test_a_leader_that_wakes_up_a_little_late_catches_up(wall):
    clock = SimulatedClock(1.0, wall=wall)
    for second in range(1, 101):
        clock.wait_until(float(second))
        wall.time += 0.01
    clock.wait_until(101.0)
    assert wall.time == pytest.approx(1101.0)


def test_a_fast_leader_sleeps_only_when_it_is_more_than_two_milliseconds_ahead(wall):
    clock = SimulatedClock(4000.0, wall=wall)
    with clock.hurry("script"):
        for second in range(1, 401):  # 0.1 s of host time
            clock.wait_until(float(second))
    assert wall.waits <= 50


def test_a_leader_that_does_not_need_to_wait_is_limited_by_its_own_speed(wall):
    clock = SimulatedClock(4000.0, wall=wall)
    clock.wait_until(0.0)
    with clock.hurry("script"):
        for second in range(1, 1001):
            wall.time += 0.001  # computing takes four times as long as the factor allows
            clock.wait_until(float(second))
            assert clock.now() <= second
    assert wall.waits == 0


def test_time_never_goes_back(wall):
    clock = SimulatedClock(50.0, wall=wall)
    last = clock.now()
    for step in range(1, 200):
        with clock.hurry("script"):
            clock.wait_until(step * 1.7)
            wall.time += 0.003 * (step % 7)
            if step % 3 == 0:
                clock.open_exchange("lamp")
                wall.time += 0.02
                clock.close_exchange("lamp")
        now = clock.now()
        assert last <= now <= step * 1.7
        last = now


def test_a_wait_ends_when_an_exchange_opens_because_the_cell_is_there_already(wall):
    clock = SimulatedClock(100.0, wall=wall)

    def light_the_lamp():
        wall.on_wait = None
        clock.open_exchange("lamp")
        wall.time -= 10.0  # the wait that follows is woken, it does not last

    wall.on_wait = light_the_lamp
    with clock.hurry("script"):
        assert clock.wait_until(1000.0)
        assert clock.now() == 1000.0
        assert clock.rate == 1.0


def test_a_wait_ends_early_when_told_so(wall):
    clock = SimulatedClock(1.0, wall=wall)
    assert not clock.wait_until(60.0, unless=lambda: True)
    assert not clock.follow_until(60.0, unless=lambda: True)


def test_closing_the_clock_ends_every_wait():
    clock = SimulatedClock(1.0)
    results = []
    leader = threading.Thread(target=lambda: results.append(clock.wait_until(1e6)))
    follower = threading.Thread(target=lambda: results.append(clock.follow_until(1e6)))
    leader.start()
    follower.start()
    clock.close()
    leader.join()
    follower.join()
    assert results == [False, False]


def test_a_follower_waits_for_the_leader():
    clock = SimulatedClock(1000.0)
    arrived = threading.Event()

    def follow():
        clock.follow_until(30.0)
        arrived.set()

    clock.wait_until(0.0)
    follower = threading.Thread(target=follow)
    follower.start()
    with clock.hurry("script"):
        for second in range(1, 31):
            clock.wait_until(float(second))
    assert arrived.wait(50.0)
    follower.join()
    assert clock.now() <= 30.0


def test_many_threads_see_one_clock():
    clock = SimulatedClock(2000.0)
    stop = threading.Event()
    faults = []

    def look():
        last = 0.0
        while not stop.is_set():
            now = clock.now()
            if now < last:
                faults.append((last, now))
            last = now
            stop.wait(0.0005)

    def shine():
        while not stop.is_set():
            with clock.exchange("laser"):
                stop.wait(0.001)
            stop.wait(0.001)

    threads = [threading.Thread(target=look) for _ in range(3)]
    threads.append(threading.Thread(target=shine))
    for thread in threads:
        thread.start()
    with clock.hurry("script"):
        for second in range(1, 300):
            clock.wait_until(float(second))
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert clock.now() <= 299.0
