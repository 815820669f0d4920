"""Wiegand frames, against edges that jitter, spark, go missing, come on the wrong line or mean nothing at all.

The frames here are put together by hand from SIA AC-01.
"""

import random
import time
from collections.abc import Callable, Iterator
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.readers.wiegand_frames import GAP_S, MAX_BURSTS, MAX_EDGES, BurstCollector, Edge, Flaw, Frame, decode

PULSE_S, INTERVAL_S = 50e-6, 1e-3
EDGES = 1_000_000
CARDS = pytest.mark.parametrize("data", [bytes.fromhex("80FF01"), bytes.fromhex("04A1B2FF")], ids=["26", "34"])


def bits_of(data: bytes) -> list[int]:
    bits = [int(digit) for digit in f"{int.from_bytes(data, 'big'):0{len(data) * 8}b}"]
    half = len(bits) // 2
    return [sum(bits[:half]) % 2, *bits, 1 - sum(bits[half:]) % 2]


def pulses(bits: list[int], *, pulse_s: float = PULSE_S, interval_s: float = INTERVAL_S, at: float = 1.0) -> list[Edge]:
    return [
        Edge(bit, at + place * interval_s + (pulse_s if high else 0), high)
        for place, bit in enumerate(bits)
        for high in (False, True)
    ]


def at_rest() -> BurstCollector:
    """A collector of lines that were seen at rest."""
    collector = BurstCollector()
    collector.rested()
    return collector


def decoded(edges: list[Edge], lengths: frozenset[int] = frozenset({26, 34})) -> list[Frame | Flaw | None]:
    collector = at_rest()
    for edge in edges:
        collector.edge(edge, edge.at)
    return [decode(burst, lengths) for burst in collector.take()]


def good(data: bytes) -> Frame:
    return Frame(len(data) * 8 + 2, data)


def test_frame_of_26_bits_has_facility_and_number() -> None:
    # facility 123, number 4567: 0111 1011 0001 0001 1101 0111, between parities 1 (7 ones before) and 0 (7 behind)
    edges = pulses([int(bit) for bit in "10111101100010001110101110"])
    (frame,) = decoded(edges)
    assert frame == Frame(26, bytes.fromhex("7B11D7"))
    assert isinstance(frame, Frame)
    assert (frame.facility, frame.number) == (123, 4567)


@CARDS
def test_frame_is_read(data: bytes) -> None:
    assert decoded(pulses(bits_of(data))) == [good(data)]


@given(st.binary(min_size=3, max_size=4).filter(lambda data: len(data) in {3, 4}))
def test_every_card_is_read(data: bytes) -> None:
    assert decoded(pulses(bits_of(data))) == [good(data)]


@given(
    st.binary(min_size=4, max_size=4),
    st.floats(20e-6, 200e-6),
    st.floats(0.5e-3, 10e-3),
    st.lists(st.floats(-0.25, 0.25), min_size=34, max_size=34),
)
def test_jitter_within_the_data_sheets_is_read(
    data: bytes, pulse_s: float, interval_s: float, jitter: list[float]
) -> None:
    at, edges = 1.0, []
    for bit, off in zip(bits_of(data), jitter, strict=True):
        edges += [Edge(bit, at, high=False), Edge(bit, at + pulse_s, high=True)]
        at += interval_s * (1 + off)
    assert decoded(edges) == [good(data)]


@CARDS
def test_missing_pulse_is_a_bad_frame(data: bytes) -> None:
    bits = bits_of(data)
    for place in range(len(bits)):
        edges = pulses(bits)
        del edges[2 * place : 2 * place + 2]
        assert decoded(edges) == [Flaw.COUNT]


@CARDS
def test_missing_edge_is_a_bad_frame(data: bytes) -> None:
    bits = bits_of(data)
    for place in range(2 * len(bits)):
        edges = pulses(bits)
        del edges[place]
        assert [frame for frame in decoded(edges) if isinstance(frame, Frame)] == []


@CARDS
def test_bit_on_the_wrong_line_is_a_bad_frame(data: bytes) -> None:
    for place in range(len(bits_of(data))):
        bits = bits_of(data)
        bits[place] ^= 1
        assert decoded(pulses(bits)) == [Flaw.PARITY]


@CARDS
def test_two_wrong_bits_pass_where_they_are_in_one_half_and_nowhere_else(data: bytes) -> None:
    right, half = bits_of(data), len(bits_of(data)) // 2
    passing = set()
    for first, second in combinations(range(len(right)), 2):
        bits = list(right)
        bits[first] ^= 1
        bits[second] ^= 1
        if isinstance(decoded(pulses(bits))[0], Frame):
            passing.add((first, second))
    assert passing == {pair for pair in combinations(range(len(right)), 2) if (pair[0] < half) == (pair[1] < half)}


@given(st.binary(min_size=3, max_size=4))
def test_swapped_lines_are_always_recognised(data: bytes) -> None:
    assert decoded(pulses([1 - bit for bit in bits_of(data)])) == [Flaw.SWAPPED]


@CARDS
@pytest.mark.parametrize("line", [0, 1])
def test_sparks_between_the_pulses_are_passed_over(data: bytes, line: int) -> None:
    edges = pulses(bits_of(data))
    for place in range(10):
        at = 1.0 + place * INTERVAL_S + 300e-6
        edges += [Edge(line, at, high=False), Edge(line, at + 5e-6, high=True)]
    assert decoded(edges) == [good(data)]


def test_sparks_alone_are_nothing() -> None:
    assert decoded([Edge(0, 1.0, high=False), Edge(0, 1.0 + 5e-6, high=True)]) == [None]


@pytest.mark.parametrize(
    ("pulse_s", "interval_s", "flaw"),
    [(300e-6, 1e-3, Flaw.PULSE), (50e-6, 100e-6, Flaw.RHYTHM), (50e-6, 23e-3, Flaw.RHYTHM)],
    ids=["long pulses", "too fast", "too slow"],
)
def test_frame_outside_the_data_sheets_is_bad(pulse_s: float, interval_s: float, flaw: Flaw) -> None:
    data = bytes.fromhex("04A1B2FF")
    assert decoded(pulses(bits_of(data), pulse_s=pulse_s, interval_s=interval_s)) == [flaw]


def test_frame_that_pauses_within_is_bad() -> None:
    edges = pulses(bits_of(bytes.fromhex("04A1B2FF")))
    late = [Edge(edge.line, edge.at + 5e-3 * (place >= 40), edge.high) for place, edge in enumerate(edges)]
    assert decoded(late) == [Flaw.RHYTHM]


def test_pulses_on_both_lines_at_once_are_bad() -> None:
    edges = pulses(bits_of(bytes.fromhex("04A1B2")))
    line, at = 1 - edges[0].line, edges[0].at
    beside = [Edge(line, at + 20e-6, high=False), Edge(line, at + 60e-6, high=True)]
    assert decoded([*edges, *beside]) == [Flaw.OVERLAP]


def test_frame_of_another_length_than_the_readers_is_bad() -> None:
    assert decoded(pulses(bits_of(bytes(3))), frozenset({34})) == [Flaw.COUNT]
    assert decoded(pulses(bits_of(bytes(4))), frozenset({26})) == [Flaw.COUNT]


def test_frames_handed_over_together_are_parted_by_their_times() -> None:
    first, second = bytes.fromhex("04A1B2FF"), bytes.fromhex("80FF01")
    edges = [*pulses(bits_of(first), at=1.0), *pulses(bits_of(second), at=1.0 + 34 * INTERVAL_S + GAP_S)]
    assert decoded(edges) == [good(first), good(second)]


def test_edges_handed_over_out_of_order_are_put_in_order() -> None:
    data = bytes.fromhex("04A1B2FF")
    edges = pulses(bits_of(data))
    swapped = [edge for a, b in zip(edges[::2], edges[1::2], strict=True) for edge in (b, a)]
    assert decoded(swapped) == [good(data)]


def test_late_end_of_a_frame_is_not_taken_for_a_frame_of_its_own() -> None:
    # 34 bits, and then what would be a good frame of 26 bits, had it come after a rest.
    collector = at_rest()
    for edge in pulses(bits_of(bytes(4))):
        collector.edge(edge, edge.at)
    collector.take()
    for edge in pulses(bits_of(bytes.fromhex("04A1B2")), at=1.0 + 34 * INTERVAL_S):
        collector.edge(edge, edge.at + 60)
    assert [decode(burst) for burst in collector.take()] == [Flaw.NOT_ALONE]


def test_end_of_a_frame_that_was_under_way_at_the_start_is_not_taken_for_a_shorter_one() -> None:
    # Of every four such ends one has right parities; this one has.
    end = pulses(bits_of(bytes.fromhex("04A1B2")))
    assert decoded(end) == [good(bytes.fromhex("04A1B2"))]
    collector = BurstCollector()
    for edge in end:
        collector.edge(edge, edge.at)
    assert [decode(burst) for burst in collector.take()] == [Flaw.NOT_ALONE]
    for edge in pulses(bits_of(bytes.fromhex("04A1B2")), at=end[-1].at + 5):
        collector.edge(edge, edge.at)
    assert [decode(burst) for burst in collector.take()] == [good(bytes.fromhex("04A1B2"))]


def test_frame_that_somebody_would_not_wait_the_end_of_is_bad() -> None:
    collector = at_rest()
    for edge in pulses(bits_of(bytes.fromhex("04A1B2"))):
        collector.edge(edge, edge.at)
    assert collector.lasting_s == pytest.approx(25 * INTERVAL_S + PULSE_S)
    assert [decode(burst) for burst in collector.take(ended=False)] == [Flaw.ENDLESS]
    assert collector.lasting_s == 0


def test_noise_without_an_end_is_one_bad_burst_and_kept_within_bounds() -> None:
    collector = at_rest()
    for place in range(100_000):
        collector.edge(Edge(place // 2 % 2, place * 1e-4, bool(place % 2)), 0.0)
    (burst,) = collector.take()
    assert len(burst.edges) <= MAX_EDGES + 1
    assert decode(burst) is Flaw.ENDLESS


def test_more_bursts_than_anybody_sends_keep_the_newest() -> None:
    collector = at_rest()
    for place in range(1000):
        collector.edge(Edge(0, float(place), high=False), float(place))
    taken = collector.take()
    assert len(taken) == MAX_BURSTS
    assert taken[-1].arrived == 999.0


def random_edges(rng: random.Random, count: int) -> Iterator[Edge]:
    """Both lines toggle at random, at distances from a microsecond to beyond the rest between frames."""
    at, high = 0.0, [True, True]
    for _ in range(count):
        at += 10 ** rng.uniform(-6, -1.4)
        line = rng.randrange(2)
        high[line] = not high[line]
        yield Edge(line, at, high[line])


def random_pulses(rng: random.Random, count: int) -> Iterator[Edge]:
    """Pulses as of a reader, at the distances of chance; rests where a frame could end."""
    at = 0.0
    for place in range(count // 2):
        at += rng.expovariate(1 / INTERVAL_S) + 250e-6 + (GAP_S if place % 30 == rng.randrange(20, 40) % 30 else 0)
        line = rng.randrange(2)
        yield Edge(line, at, high=False)
        yield Edge(line, at + 60e-6, high=True)


@pytest.mark.parametrize(("kind", "noise"), [("random edges", random_edges), ("random pulses", random_pulses)])
def test_million_random_edges_give_no_frame_and_leave_the_next_one_whole(
    kind: str, noise: Callable[[random.Random, int], Iterator[Edge]]
) -> None:
    collector = at_rest()
    counts: dict[str, int] = {}
    last, began = 0.0, time.process_time()

    def take() -> None:
        for burst in collector.take():
            found = decode(burst)
            name = found.name if isinstance(found, Flaw) else "sparks" if found is None else "Frame"
            counts[name] = counts.get(name, 0) + 1

    for edge in noise(random.Random(7), EDGES):
        if edge.at - last >= GAP_S:
            take()
        collector.edge(edge, edge.at)
        last = edge.at
    take()
    cpu = time.process_time() - began
    print(f"\nWiegand: {EDGES} edges, {kind}, take {cpu:.1f} s of CPU: {dict(sorted(counts.items()))}")
    assert "Frame" not in counts
    for edge in pulses(bits_of(bytes.fromhex("04A1B2FF")), at=last + 1):
        collector.edge(edge, edge.at)
    assert [decode(burst) for burst in collector.take()] == [good(bytes.fromhex("04A1B2FF"))]


def test_evenly_spaced_random_bits_of_the_right_length_pass_in_a_quarter() -> None:
    # What no decoder can help: two parity bits are all that a frame has beside its timing.
    rng = random.Random(8)
    passed = sum(isinstance(decoded(pulses([rng.randrange(2) for _ in range(26)]))[0], Frame) for _ in range(4000))
    print(f"\nWiegand: {passed / 4000:.1%} of well-timed random frames of 26 bits pass the parities")
    assert 800 < passed < 1200
