"""How fast connections may come, and whose count as one another's."""

import pytest

from agent.ocpi.server.newcomers import LOCAL, REMOTE, Newcomers, Pace

TLS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(newcomers: Newcomers, origin: str, of: int = 1000) -> int:
    return sum(newcomers.admits(origin) for _ in range(of))


@pytest.mark.parametrize(("tls", "pace"), [(True, Pace(10, 40)), (False, Pace(50, 128))], ids=["TLS", "plain"])
def test_remote_origin_has_some_at_once_and_then_some_a_second(*, tls: bool, pace: Pace) -> None:
    time = Time()
    newcomers = Newcomers(tls=tls, clock=time)
    assert admitted(newcomers, "192.0.2.1") == pace.burst
    for _ in range(3):
        time.now += 1
        assert admitted(newcomers, "192.0.2.1") == pace.per_s


@TLS
@pytest.mark.parametrize("other", ["192.0.2.2", "2001:db8::/64", "127.0.0.1"])
def test_remote_origin_takes_nothing_from_another_one(other: str, *, tls: bool) -> None:
    newcomers = Newcomers(tls=tls, clock=Time())
    admitted(newcomers, "192.0.2.1")
    assert newcomers.admits(other)


def test_refused_newcomer_costs_its_origin_nothing() -> None:
    time = Time()
    newcomers = Newcomers(tls=True, clock=time)
    admitted(newcomers, "192.0.2.1")
    for _ in range(20):
        time.now += 0.05
        admitted(newcomers, "192.0.2.1", of=1)
    assert admitted(newcomers, "192.0.2.1") < 2
    time.now += 1
    assert admitted(newcomers, "192.0.2.1") >= 9


def test_all_of_this_machine_is_one_origin() -> None:
    newcomers = Newcomers(tls=True, clock=Time())
    assert sum(newcomers.admits(f"127.0.{high}.{low}") for high in range(8) for low in range(250)) == LOCAL.burst
    assert not newcomers.admits("::1")


@pytest.mark.parametrize("origin", ["127.0.0.1", "127.7.7.7", "::1"])
def test_this_machine_has_no_limit_without_tls(origin: str) -> None:
    assert admitted(Newcomers(tls=False, clock=Time()), origin, of=10_000) == 10_000


@TLS
def test_who_proved_who_it_is_does_not_count(*, tls: bool) -> None:
    newcomers = Newcomers(tls=tls, clock=Time())
    for _ in range(1000):
        assert newcomers.admits("192.0.2.1")
        newcomers.give_back("192.0.2.1")


@TLS
def test_where_somebody_has_proved_who_it_is_more_may_come(*, tls: bool) -> None:
    newcomers = Newcomers(tls=tls, clock=Time())
    first = admitted(newcomers, "192.0.2.1")
    newcomers.give_back("192.0.2.1")
    assert admitted(newcomers, "192.0.2.1") == 5 * first
    for number in range(100):
        newcomers.give_back(f"198.51.100.{number}")
    assert len(newcomers._proved) == 64
    assert not newcomers.admits("192.0.2.1")


def test_what_is_given_back_is_no_more_than_at_once() -> None:
    newcomers = Newcomers(tls=True, clock=Time())
    newcomers.admits("192.0.2.1")
    for _ in range(1000):
        newcomers.give_back("192.0.2.1")
    assert admitted(newcomers, "192.0.2.1") == 5 * REMOTE.burst
