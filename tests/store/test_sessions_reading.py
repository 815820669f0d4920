"""What commands and peers are shown of sessions and CDRs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.store.sessions import Charges
from tests.store.charge_samples import State, cdr, credit, opened, over, session
from tests.store.samples import REFERENCE, at, late


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db") as state:
        yield state


async def recent(state: State, limit: int = 9, **wanted: object) -> list[int]:
    return [one.session.authorization_id for one in await state.sessions.recent(limit, **wanted)]  # type: ignore[arg-type]


async def found(state: State, name: str) -> int | None:
    charge = await state.sessions.find(name)
    return None if charge is None else charge.session.authorization_id


async def cdr_found(state: State, name: str) -> int | None:
    record = await state.sessions.cdr(name)
    return None if record is None else record.number


async def test_recent_sessions_page_backwards(state: State) -> None:
    for _ in range(5):
        await state.begun()
    assert await recent(state, 2) == [5, 4]
    assert await recent(state, 2, before=4) == [3, 2]
    assert await recent(state, 9, before=1) == []


async def test_recent_sessions_of_one_evse_or_that_run(state: State) -> None:
    for number in range(4):
        await state.begun(evse_uid=f"EVSE {number % 2}")
    await state.sessions.end(over(2), None, None)
    assert await recent(state, evse_uid="EVSE 1") == [4, 2]
    assert await recent(state, running=True) == [4, 3, 1]
    assert await recent(state, running=True, evse_uid="EVSE 1", before=4) == []


async def test_sessions_of_authorizations_leave_out_those_without(state: State) -> None:
    await state.begun()
    await state.begun()
    assert set(await state.sessions.of([1, 2, 3])) == {1, 2}
    assert await state.sessions.of([]) == {}


async def test_session_comes_with_late_answers_and_their_reference(state: State) -> None:
    await state.begun()
    await state.journal.add_late(late(1))
    [charge] = await state.sessions.recent(1)
    assert charge.authorization.late == (late(1),)
    assert charge.authorization.entry.authorization_reference == REFERENCE


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("2", 2),
        ("#2", 2),
        ("3", None),
        ("00000002-0b1c-4d2e-8f3a-445566778899", 2),
        ("00000002-0B1C-4D2E-8F3A-445566778899", 2),
        ("00000002", 2),
        ("00000002-0b1c-4d2e-8f3a-4455667788990", None),
        ("0000000", None),
        ("00000003", None),
        ("", None),
        ("#", None),
        ("#٢", None),
        ("9" * 5000, None),
        ("' OR 1 --", None),
        ("%%%%%%%%", None),
    ],
)
async def test_session_is_found_by_number_id_and_beginning(state: State, name: str, number: int | None) -> None:
    await state.begun(session_id="00000001-0b1c-4d2e-8f3a-445566778899")
    await state.begun(session_id="00000002-0b1c-4d2e-8f3a-445566778899")
    assert await found(state, name) == number


async def test_beginning_of_two_ids_finds_neither_but_a_whole_id_its_own(state: State) -> None:
    await state.begun(session_id="abcdefgh")
    await state.begun(session_id="abcdefgh-2")
    assert await found(state, "abcdefgh-") == 2
    assert await found(state, "abcdefgh") == 1
    await state.begun(session_id="abcdefgh-3")
    assert await found(state, "abcdefgh-") is None


async def test_cdr_is_found_by_number_id_and_beginning_even_when_credited(state: State) -> None:
    await state.billed()
    await state.sessions.add_credit(credit(1))
    assert await cdr_found(state, "#1") == 1
    assert await cdr_found(state, "2") == 2
    assert await cdr_found(state, "00000001") == 1
    assert await cdr_found(state, cdr(1).cdr_id) == 1
    assert await cdr_found(state, credit(1).cdr_id) == 2
    assert await cdr_found(state, "00000002") is None


async def test_cdrs_are_listed_newest_first_and_by_what_became_of_them(state: State) -> None:
    for number in (1, 2, 3, 4):
        await state.finished()
        assert await cdr_found(state, f"#{number}") == number
    await state.sessions.acknowledged(1, at(99), None)
    await state.sessions.park(3, "OCPI 2001")

    async def numbers(limit: int = 9, **wanted: object) -> list[int]:
        return [one.number for one in await state.sessions.cdrs(limit, **wanted)]  # type: ignore[arg-type]

    assert await numbers() == [4, 3, 2, 1]
    assert await numbers(2, before=4) == [3, 2]
    assert await numbers(pending=True) == [4, 2]
    assert await numbers(parked=True) == [3]
    assert await numbers(1, pending=True, parked=True, before=4) == [3]


async def test_charges_are_read_beside_the_agent_that_writes_them(state: State) -> None:
    await state.finished()
    beside = await Charges.open_read_only(state.database.path)
    try:
        assert await beside.recent(9) == await state.sessions.recent(9)
        assert await beside.cdrs(9) == await state.sessions.cdrs(9)
    finally:
        await beside.close()


async def test_charges_of_a_file_that_is_not_there_say_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not there yet"):
        await Charges.open_read_only(tmp_path / "state.db")
    assert not (tmp_path / "state.db").exists()


# What a peer may pull.


async def test_peer_sees_its_own_sessions_that_run_or_are_over_in_the_order_in_which_they_began(state: State) -> None:
    await state.begun(changed_at=at(30), object=b"first")
    await state.begun(peer="another", object=b"not yours")
    await state.begun(object=None)
    await state.begun()
    await state.sessions.end(over(4, changed_at=at(20), object=b"second"), None, None)
    await state.begun(changed_at=at(10), object=b"third")
    page = await state.sessions.sessions_of("emsp", at(0), None, 0, 9)
    assert (page.objects, page.total) == ((b"first", b"second", b"third"), 3)


async def test_pages_of_sessions_changed_at_one_instant_hold_each_once(state: State) -> None:
    expected = [f"{number}".encode() for number in range(1, 8)]
    for number in range(1, 8):
        await state.begun()
        await state.sessions.end(over(number, changed_at=at(5), object=f"{number}".encode()), None, None)
    pages = [await state.sessions.sessions_of("emsp", at(5), at(6), offset, 3) for offset in (0, 3, 6, 9)]
    assert [one for page in pages for one in page.objects] == expected
    assert [page.total for page in pages] == [7, 7, 7, 7]


async def test_session_that_changes_between_two_pages_hides_no_other(state: State) -> None:
    for number in (1, 2, 3):
        await state.begun(object=f"{number}".encode())
    await state.sessions.end(over(2, object=b"2"), None, None)
    first = await state.sessions.sessions_of("emsp", at(0), None, 0, 2)
    await state.sessions.put(session(1, changed_at=at(500), object=b"1 later"), tell=False)
    await state.sessions.end(over(3, changed_at=at(600), object=b"3"), None, None)
    rest = await state.sessions.sessions_of("emsp", at(0), None, 2, 2)
    assert (*first.objects, *rest.objects) == (b"1", b"2", b"3")


async def test_first_instant_is_within_and_the_last_is_not(state: State) -> None:
    for number in (1, 2, 3):
        await state.begun(changed_at=at(number), object=f"{number}".encode())
        await state.sessions.end(over(number, changed_at=at(number), object=f"{number}".encode()), cdr(number), None)
    assert (await state.sessions.sessions_of("emsp", at(2), at(3), 0, 9)).objects == (b"2",)
    assert (await state.sessions.sessions_of("emsp", None, at(3), 0, 9)).objects == (b"1", b"2")
    sealed = tuple(cdr(number).object for number in (1, 2, 3))
    assert (await state.sessions.cdrs_of("emsp", at(62), at(63), 0, 9)).objects == sealed[1:2]
    assert (await state.sessions.cdrs_of("emsp", None, None, 0, 9)).objects == sealed


async def test_peer_sees_its_own_cdrs_and_credits_whatever_became_of_them(state: State) -> None:
    await state.billed()
    await state.finished()
    await state.begun()
    await state.sessions.end(over(3), cdr(3, peer="another"), None)
    await state.sessions.park(2, "OCPI 2001")
    await state.sessions.add_credit(credit(1))
    page = await state.sessions.cdrs_of("emsp", at(0), None, 1, 9)
    assert (page.objects, page.total) == ((cdr(2).object, credit(1).object), 3)


async def test_peer_that_nobody_knows_sees_nothing(state: State) -> None:
    await state.finished()
    page = await state.sessions.sessions_of("EMSP", at(0), None, 0, 9)
    assert (page.objects, page.total) == ((), 0)
    assert (await state.sessions.cdrs_of("EMSP", at(0), None, 0, 9)).total == 0
