"""Tokens: looked up, pushed, synced page by page, swept, and lost with their file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiosqlite
import pytest

from agent.errors import BusyError, CorruptError, StoreError
from agent.model import EnergyContract, ListedToken, Token, TokenType, Uid, WhitelistType
from agent.store.database import Database, Schema
from agent.store.token_rows import CHUNK
from agent.store.whitelist import WHITELIST_ID, LastSync, Put, Swept, SyncKind, SyncProgress, TokenCount, Whitelist
from tests.store.samples import NOON, at, token

CARD = Uid("04A1B2C3")
OBJECT = ("DE", "ABC", CARD, "RFID")
FAR = datetime(2099, 1, 1, tzinfo=UTC)


async def begin(whitelist: Whitelist, kind: SyncKind = SyncKind.FULL, peer: str = "emsp") -> SyncProgress:
    return await whitelist.start(peer, kind, "page 1", reference=at(0), started_at=at(1))


async def synced(whitelist: Whitelist, *uids: str, kind: SyncKind = SyncKind.FULL, peer: str = "emsp") -> Swept:
    """A complete sync that brings these tokens."""
    progress = await begin(whitelist, kind, peer)
    progress = await whitelist.store_page(progress, [token(uid) for uid in uids], next_url="")
    return await whitelist.complete(progress, completed_at=at(10))


async def pulled(whitelist: Whitelist, *tokens: Token, peer: str = "emsp") -> None:
    """A complete full sync that brings these tokens."""
    progress = await whitelist.store_page(await begin(whitelist, peer=peer), tokens, next_url="")
    await whitelist.complete(progress, completed_at=at(10))


async def issuers(whitelist: Whitelist) -> list[tuple[str, str]]:
    return [(one.token.issuer, one.peer) for one in await whitelist.find(CARD)]


@asynccontextmanager
async def closing_at_end(whitelist: Whitelist) -> AsyncIterator[Whitelist]:
    try:
        yield whitelist
    finally:
        await whitelist.close()


async def asks_again(whitelist: Whitelist, peer: str = "emsp") -> bool:
    last = await whitelist.last_sync(peer)
    assert last is not None
    return last.again


async def withdrawn(whitelist: Whitelist) -> dict[str, bool]:
    return {one.token.uid: one.withdrawn for one in await whitelist.list_tokens()}


async def test_token_with_every_field_reads_back_as_its_owner_wrote_it(whitelist: Whitelist) -> None:
    full = token(
        "04aBcD",
        country_code="de",
        party_id="aBc",
        whitelist=WhitelistType.ALLOWED_OFFLINE,
        valid=False,
        visual_number="DE-ABC-1",
        group_id="group",
        language="de",
        default_profile_type="GREEN",
        energy_contract=EnergyContract("A supplier", "C-1"),
    )
    await whitelist.put(full, "emsp")
    assert await whitelist.find(Uid("04ABCD")) == (ListedToken(full, "emsp"),)


@pytest.mark.parametrize("kind", TokenType)
@pytest.mark.parametrize("how", WhitelistType)
async def test_token_of_every_type_reads_back(whitelist: Whitelist, kind: TokenType, how: WhitelistType) -> None:
    one = token(type=kind, whitelist=how)
    await whitelist.put(one, "emsp")
    assert await whitelist.get("DE", "ABC", CARD, kind) == ListedToken(one, "emsp")


@pytest.mark.parametrize("asked", ["04A1B2C3", "04a1b2c3", " 04a1B2c3 "])
@pytest.mark.parametrize("listed", ["04A1B2C3", "04a1b2c3", "04A1b2C3 "])
async def test_uid_is_found_without_regard_to_case(whitelist: Whitelist, asked: str, listed: str) -> None:
    await whitelist.put(token(listed), "emsp")
    assert [one.token.uid for one in await whitelist.find(Uid(asked))] == [listed]


async def test_same_token_in_another_case_is_the_same_row(whitelist: Whitelist) -> None:
    await whitelist.put(token("04A1B2C3"), "emsp")
    assert await whitelist.put(token("04a1b2c3", country_code="de"), "emsp") is Put.UPDATED
    assert await whitelist.find(CARD) == (ListedToken(token("04a1b2c3", country_code="de"), "emsp"),)


@pytest.mark.parametrize("text", [None, "", "0"])
async def test_optional_text_reads_back_as_it_was_pushed_or_listed(whitelist: Whitelist, text: str | None) -> None:
    contract = EnergyContract("A supplier", text)
    written = token(visual_number=text, group_id=text, language=text, energy_contract=contract)
    await whitelist.put(written, "emsp")
    await pulled(whitelist, replace(written, uid="04B2"))
    read = [one.token for one in await whitelist.list_tokens()]
    assert [replace(one, uid=CARD) for one in read] == [replace(written, uid=CARD)] * 2


async def test_unknown_uid_finds_nothing(whitelist: Whitelist) -> None:
    await whitelist.put(token(), "emsp")
    assert await whitelist.find(Uid("04A1B2")) == ()


async def test_app_token_with_the_uid_of_a_card_is_not_found(whitelist: Whitelist) -> None:
    await whitelist.put(token(type=TokenType.APP_USER), "emsp")
    assert await whitelist.find(CARD) == ()


async def test_two_owners_of_one_uid_are_found_in_the_order_of_their_names(whitelist: Whitelist) -> None:
    await whitelist.put(token(country_code="NL", party_id="AAA"), "hub")
    await whitelist.put(token(country_code="DE", party_id="XYZ"), "hub")
    await whitelist.put(token(country_code="de", party_id="abc"), "emsp")
    assert [(one.token.owner, one.peer) for one in await whitelist.find(CARD)] == [
        ("DE-ABC", "emsp"),
        ("DE-XYZ", "hub"),
        ("NL-AAA", "hub"),
    ]


async def test_pushed_token_is_created_updated_or_stale_by_its_time(whitelist: Whitelist) -> None:
    assert await whitelist.put(token(last_updated=at(5)), "emsp") is Put.CREATED
    assert await whitelist.put(token(last_updated=at(5), issuer="equal"), "emsp") is Put.UPDATED
    assert await whitelist.put(token(last_updated=at(4), issuer="older"), "hub") is Put.STALE
    assert await whitelist.find(CARD) == (ListedToken(token(last_updated=at(5), issuer="equal"), "emsp"),)


async def test_list_does_not_overwrite_what_was_pushed_while_it_was_read(whitelist: Whitelist) -> None:
    await pulled(whitelist, token())
    progress = await begin(whitelist)
    await whitelist.put(token(last_updated=at(5), issuer="pushed"), "emsp")
    await whitelist.complete(await whitelist.store_page(progress, [token()], next_url=""), completed_at=at(10))
    assert await issuers(whitelist) == [("pushed", "emsp")]


async def test_list_that_may_be_older_than_a_push_does_not_overwrite_it(whitelist: Whitelist) -> None:
    await whitelist.put(token(last_updated=at(5), issuer="pushed"), "emsp")
    await pulled(whitelist, token())
    [found] = await whitelist.find(CARD)
    assert (found.token.issuer, found.withdrawn) == ("pushed", False)


async def test_second_list_after_a_push_wins_over_it(whitelist: Whitelist) -> None:
    await whitelist.put(token(last_updated=at(5), issuer="pushed"), "emsp")
    await pulled(whitelist, token())
    await pulled(whitelist, token(issuer="listed"))
    assert await issuers(whitelist) == [("listed", "emsp")]


async def test_list_wins_over_the_peers_earlier_list_whatever_their_times(whitelist: Whitelist) -> None:
    await pulled(whitelist, token(last_updated=at(5), issuer="first"))
    await pulled(whitelist, token(last_updated=at(0), issuer="second"))
    assert await issuers(whitelist) == [("second", "emsp")]


async def test_wrong_time_in_the_future_is_corrected_by_the_next_list(whitelist: Whitelist) -> None:
    await pulled(whitelist, token(last_updated=FAR, issuer="wrong"))
    await pulled(whitelist, token(issuer="right", valid=False))
    [found] = await whitelist.find(CARD)
    assert (found.token.issuer, found.valid) == ("right", False)


async def test_push_from_the_future_gives_way_to_what_is_updated_after_it(whitelist: Whitelist) -> None:
    await whitelist.put(token(last_updated=FAR, issuer="wrong"), "emsp")
    [found] = await whitelist.find(CARD)
    assert found.token.last_updated == FAR
    assert await whitelist.put(token(last_updated=at(0)), "emsp") is Put.STALE
    assert await whitelist.put(token(last_updated=datetime.now(UTC)), "emsp") is Put.UPDATED


async def test_list_of_another_peer_overwrites_only_what_is_older(whitelist: Whitelist) -> None:
    await pulled(whitelist, token(last_updated=at(5), issuer="hers"))
    await pulled(whitelist, token(last_updated=at(4), issuer="his"), peer="hub")
    assert await issuers(whitelist) == [("hers", "emsp")]
    await pulled(whitelist, token(last_updated=at(6), issuer="his"), peer="hub")
    assert await issuers(whitelist) == [("his", "hub")]


@pytest.mark.parametrize("pushes", [False, True])
async def test_claim_from_the_future_does_not_beat_another_peer_for_ever(tmp_path: Path, *, pushes: bool) -> None:
    # The clock shows a time before the other peer's update: what "now" is not newer than.
    async with closing_at_end(await Whitelist.open(tmp_path / "claims.db", now=lambda: at(1))) as whitelist:
        await pulled(whitelist, token(last_updated=at(5), issuer="hers"))
        claim = token(last_updated=FAR, issuer="his")
        if pushes:
            assert await whitelist.put(claim, "hub") is Put.STALE
        else:
            await pulled(whitelist, claim, peer="hub")
        assert await issuers(whitelist) == [("hers", "emsp")]


async def test_list_of_another_peer_does_not_keep_a_token_on_the_list(whitelist: Whitelist) -> None:
    await pulled(whitelist, token(last_updated=at(5)))
    for _ in range(2):
        await pulled(whitelist)
        await whitelist.store_page(await begin(whitelist, peer="hub"), [], unreadable=[OBJECT], next_url="")
    assert await withdrawn(whitelist) == {CARD: True}


async def test_withdrawn_token_is_taken_over_by_another_peer_that_lists_it(whitelist: Whitelist) -> None:
    await pulled(whitelist, token(last_updated=at(5), issuer="hers"))
    await pulled(whitelist)
    await pulled(whitelist)
    await pulled(whitelist, token(last_updated=at(4), issuer="his"), peer="hub")
    assert await issuers(whitelist) == [("his", "hub")]
    assert await withdrawn(whitelist) == {CARD: False}


async def test_uid_of_very_many_owners_finds_the_first_sixteen(whitelist: Whitelist) -> None:
    await pulled(whitelist, *(token(party_id=f"P{number:02}") for number in reversed(range(40))))
    assert [one.token.party_id for one in await whitelist.find(CARD)] == [f"P{number:02}" for number in range(16)]


@pytest.mark.parametrize("pushes", [False, True])
async def test_token_that_two_peers_list_alike_stays_with_the_first(whitelist: Whitelist, *, pushes: bool) -> None:
    await pulled(whitelist, token(issuer="hers"))
    if pushes:
        assert await whitelist.put(token(issuer="his"), "hub") is Put.STALE
        assert await whitelist.put(token(issuer="his"), "hub", instead_of=token(issuer="hers")) is Put.STALE
    else:
        await pulled(whitelist, token(issuer="his"), peer="hub")
    assert await issuers(whitelist) == [("hers", "emsp")]


async def test_withdrawn_token_is_taken_over_by_another_peer_that_pushes_it(whitelist: Whitelist) -> None:
    await pulled(whitelist, token(last_updated=at(5), issuer="hers"))
    await whitelist.withdraw_peer("emsp")
    assert await whitelist.put(token(last_updated=at(4), issuer="his"), "hub") is Put.UPDATED
    assert await issuers(whitelist) == [("his", "hub")]
    assert await withdrawn(whitelist) == {CARD: False}


async def test_sweep_sends_the_peers_that_list_the_token_as_well_for_their_lists(whitelist: Whitelist) -> None:
    await synced(whitelist, "04C3", peer="third")
    await synced(whitelist, CARD)
    await synced(whitelist, CARD, peer="hub")
    await synced(whitelist)
    assert not await asks_again(whitelist, "hub")
    assert await synced(whitelist) == Swept(withdrawn=1)
    assert await asks_again(whitelist, "hub")
    assert not await asks_again(whitelist, "third")
    await synced(whitelist, CARD, kind=SyncKind.DELTA, peer="hub")
    assert await asks_again(whitelist, "hub")
    await synced(whitelist, CARD, peer="hub")
    assert not await asks_again(whitelist, "hub")
    assert await withdrawn(whitelist) == {CARD: False, "04C3": False}


async def test_two_peers_do_not_send_each_other_for_their_lists_for_ever(whitelist: Whitelist) -> None:
    for peer in ("emsp", "hub"):
        await synced(whitelist, "04A1", "04B2", peer=peer)
    await pulled(whitelist, token("04A1"), token("04B2", last_updated=at(5)), peer="hub")
    assert await synced(whitelist, "04B2", peer="emsp") == Swept(missed=1)
    assert await synced(whitelist, "04A1", peer="hub") == Swept(missed=1)
    assert await synced(whitelist, "04B2", peer="emsp") == Swept(withdrawn=1)
    assert await asks_again(whitelist, "hub")
    assert await synced(whitelist, peer="hub") == Swept(withdrawn=1)
    assert not await asks_again(whitelist, "emsp")


async def test_older_of_two_pushes_from_the_future_is_stale(tmp_path: Path) -> None:
    async with closing_at_end(await Whitelist.open(tmp_path / "claims.db", now=lambda: NOON)) as whitelist:
        blocked = token(last_updated=NOON + timedelta(days=10), valid=False)
        assert await whitelist.put(blocked, "emsp") is Put.CREATED
        older = token(last_updated=NOON + timedelta(days=5))
        assert await whitelist.put(older, "emsp") is Put.STALE
        assert await whitelist.put(older, "emsp", instead_of=blocked) is Put.STALE
        assert [one.valid for one in await whitelist.find(CARD)] == [False]


async def test_two_peers_with_times_from_the_future_do_not_take_turns(tmp_path: Path) -> None:
    clock = NOON
    async with closing_at_end(await Whitelist.open(tmp_path / "claims.db", now=lambda: clock)) as whitelist:
        await pulled(whitelist, token(last_updated=FAR, issuer="hers"))
        clock = NOON + timedelta(hours=1)
        await pulled(whitelist, token(last_updated=FAR - timedelta(days=1), issuer="his"), peer="hub")
        assert await issuers(whitelist) == [("hers", "emsp")]


async def test_time_that_was_the_future_for_a_slow_clock_counts_when_it_is_right_again(tmp_path: Path) -> None:
    clock = NOON - timedelta(days=3)
    async with closing_at_end(await Whitelist.open(tmp_path / "claims.db", now=lambda: clock)) as whitelist:
        blocked = token(last_updated=NOON - timedelta(hours=1), valid=False)
        older = token(last_updated=NOON - timedelta(hours=20))
        await pulled(whitelist, blocked, older)
        assert [one.valid for one in await whitelist.find(CARD)] == [False]
        clock = NOON
        assert await whitelist.put(older, "emsp") is Put.STALE
        await pulled(whitelist, older, peer="hub")
        assert [(one.valid, one.peer) for one in await whitelist.find(CARD)] == [(False, "emsp")]
        assert await whitelist.put(token(last_updated=NOON), "emsp") is Put.UPDATED


async def test_list_of_unknown_age_replaces_only_what_is_no_newer(whitelist: Whitelist) -> None:
    await pulled(whitelist, token("04A1", last_updated=at(5), issuer="newer"), token("04B2"), token("04C3"))
    for _ in range(2):
        await pulled(whitelist, token("04B2"))
    assert (await withdrawn(whitelist))["04A1"]
    page = [token("04A1", issuer="file"), token("04B2", issuer="file"), token("04D4", issuer="file")]
    progress = await whitelist.store_page(await begin(whitelist), page, next_url="", newest_wins=True)
    assert await whitelist.complete(progress, completed_at=at(10)) == Swept()
    listed = await whitelist.list_tokens()
    assert [one.token.issuer for one in listed if not one.withdrawn] == ["newer", "file", "file"]
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": False, "04C3": True, "04D4": False}


async def test_push_during_a_sync_holds_out_against_the_next_list(whitelist: Whitelist) -> None:
    """The sync that runs has begun before it: its list says nothing of it yet."""
    await pulled(whitelist, token())
    progress = await begin(whitelist)
    await whitelist.put(token(last_updated=at(5), issuer="pushed"), "emsp")
    await whitelist.complete(await whitelist.store_page(progress, [token()], next_url=""), completed_at=at(10))
    await pulled(whitelist, token())
    assert await issuers(whitelist) == [("pushed", "emsp")]
    await pulled(whitelist, token(issuer="listed"))
    assert await issuers(whitelist) == [("listed", "emsp")]


async def test_pushed_token_that_a_list_replaced_is_like_any_other(whitelist: Whitelist) -> None:
    await whitelist.put(token(last_updated=at(5), issuer="pushed"), "emsp")
    await pulled(whitelist, token(last_updated=at(6), issuer="newer"))
    await pulled(whitelist, token(issuer="listed"))
    assert await issuers(whitelist) == [("listed", "emsp")]


async def test_withdrawn_token_that_gives_way_to_nobody_but_is_listed_is_back(whitelist: Whitelist) -> None:
    """It was withdrawn, and then its peer lists it in an older state by a list that may be older than what is here."""
    await pulled(whitelist, token(last_updated=at(5)))
    await whitelist.withdraw_peer("emsp")
    await whitelist.store_page(await begin(whitelist), [token()], next_url="", newest_wins=True)
    assert [one.token.last_updated for one in await whitelist.find(CARD)] == [at(5)]
    assert await withdrawn(whitelist) == {CARD: False}


async def test_delta_with_a_doubt_leaves_the_reference_where_it_was(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    delta = await whitelist.start("emsp", SyncKind.DELTA, "u", reference=at(20), started_at=at(20))
    delta = await whitelist.store_page(delta, [], next_url="", doubt="it broke off")
    await whitelist.complete(delta, completed_at=at(30))
    assert await whitelist.last_sync("emsp") == LastSync(SyncKind.DELTA, at(0), at(30), at(10), 0, 0)


async def test_full_sync_with_a_doubt_moves_the_reference(whitelist: Whitelist) -> None:
    """Else the deltas of a peer whose totals always lie would reach back ever farther."""
    await synced(whitelist, CARD)
    full = await whitelist.start("emsp", SyncKind.FULL, "u", reference=at(20), started_at=at(20))
    full = await whitelist.store_page(full, [], next_url="", doubt="it broke off")
    await whitelist.complete(full, completed_at=at(30))
    assert await whitelist.last_sync("emsp") == LastSync(SyncKind.FULL, at(20), at(30), at(30), 0, 0, again=True)


async def test_full_sync_with_a_doubt_asks_for_one_more(whitelist: Whitelist) -> None:
    asked = []
    for _ in range(3):
        progress = await whitelist.store_page(await begin(whitelist), [], next_url="", doubt="it broke off")
        await whitelist.complete(progress, completed_at=at(10))
        asked.append(await asks_again(whitelist))
    assert asked == [True, False, True]


async def test_full_sync_that_was_asked_for_after_a_miss_asks_for_none(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2", "04C3")
    assert await synced(whitelist, "04A1", "04B2") == Swept(missed=1)
    assert await asks_again(whitelist)
    assert await synced(whitelist, "04A1") == Swept(missed=1, withdrawn=1)
    assert not await asks_again(whitelist)
    assert await synced(whitelist, "04A1") == Swept(withdrawn=1)


async def test_full_sync_that_was_asked_for_after_a_doubt_asks_for_one_after_a_miss(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2")
    progress = await whitelist.store_page(await begin(whitelist), [], next_url="", doubt="it broke off")
    await whitelist.complete(progress, completed_at=at(10))
    assert await synced(whitelist, "04A1") == Swept(missed=1)
    assert await asks_again(whitelist)


async def test_pushes_at_once_ask_for_their_peer_once(whitelist: Whitelist) -> None:
    changes = await total_changes(whitelist)
    await asyncio.gather(*[whitelist.put(token(f"{number:04X}"), "emsp") for number in range(50)])
    assert await total_changes(whitelist) - changes == 51


async def total_changes(whitelist: Whitelist) -> int:
    [[changes]] = await whitelist._database.writer._connection.execute_fetchall("SELECT total_changes()")
    return int(changes)


async def test_token_twice_in_a_page_keeps_the_newer_whichever_came_first(whitelist: Whitelist) -> None:
    page = [token(last_updated=at(2), issuer="newer"), token(last_updated=at(1)), token("04FF"), token("04ff")]
    await whitelist.store_page(await begin(whitelist), page, next_url="")
    assert [one.token.issuer for one in await whitelist.list_tokens()] == ["newer", "An issuer"]


async def test_time_without_a_zone_counts_as_utc(whitelist: Whitelist) -> None:
    await whitelist.put(token(last_updated=NOON), "emsp")
    assert await whitelist.put(token(last_updated=at(-1).replace(tzinfo=None)), "emsp") is Put.STALE


async def test_full_sync_only_marks_what_it_is_the_first_not_to_bring(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2", "04C3")
    assert await synced(whitelist, "04A1", "04C3") == Swept(withdrawn=0, missed=1)
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": False, "04C3": False}
    last = await whitelist.last_sync("emsp")
    assert last is not None
    assert last.missed == 1


async def test_token_that_is_missing_now_and_then_is_never_withdrawn(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2")
    for _ in range(3):
        assert await synced(whitelist, "04A1") == Swept(missed=1)
        assert await synced(whitelist, "04A1", "04B2") == Swept()


@pytest.mark.parametrize("kind", SyncKind)
async def test_sync_that_is_no_whole_list_is_no_second_miss(whitelist: Whitelist, kind: SyncKind) -> None:
    await synced(whitelist, "04A1", "04B2")
    await synced(whitelist, "04A1")
    progress = await whitelist.store_page(await begin(whitelist, kind), [], next_url="", doubt="it broke off")
    assert await whitelist.complete(progress, completed_at=at(9)) == Swept()
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": False}
    assert await synced(whitelist, "04A1") == Swept(withdrawn=1)


async def test_two_full_syncs_withdraw_what_neither_brought(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2", "04C3")
    await synced(whitelist, "04A1", "04C3")
    assert await synced(whitelist, "04A1", "04C3") == Swept(withdrawn=1, missed=0)
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": True, "04C3": False}


async def test_withdrawn_token_is_counted_once_and_not_valid(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    swept = [await synced(whitelist) for _ in range(3)]
    assert swept == [Swept(missed=1), Swept(withdrawn=1), Swept()]
    [found] = await whitelist.find(CARD)
    assert (found.withdrawn, found.valid, found.token.valid) == (True, False, True)


@pytest.mark.parametrize("kind", SyncKind)
async def test_withdrawn_token_that_a_page_brings_again_is_back(whitelist: Whitelist, kind: SyncKind) -> None:
    await synced(whitelist, CARD)
    await synced(whitelist)
    await synced(whitelist)
    await synced(whitelist, CARD, kind=kind)
    assert await withdrawn(whitelist) == {CARD: False}


async def test_withdrawn_token_that_is_pushed_again_is_back(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    await synced(whitelist)
    await synced(whitelist)
    await whitelist.put(token(), "emsp")
    assert await withdrawn(whitelist) == {CARD: False}


async def test_delta_sync_withdraws_nothing(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2")
    for _ in range(3):
        assert await synced(whitelist, "04A1", kind=SyncKind.DELTA) == Swept()
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": False}


async def test_full_sync_leaves_the_tokens_of_other_peers(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", peer="hub")
    assert await synced(whitelist, "04B2", peer="emsp") == Swept()
    assert await synced(whitelist, peer="emsp") == Swept(missed=1)
    assert await synced(whitelist, peer="emsp") == Swept(withdrawn=1)
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": True}


async def test_token_pushed_during_a_full_sync_is_not_withdrawn_by_it(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1")
    await synced(whitelist)
    progress = await begin(whitelist)
    await whitelist.put(token("04B2"), "emsp")
    assert await whitelist.complete(progress, completed_at=at(9)) == Swept(withdrawn=1)
    assert await withdrawn(whitelist) == {"04A1": True, "04B2": False}


@pytest.mark.parametrize("kind", ["RFID", "rfid", "SOMETHING_NEW"])
async def test_unreadable_object_keeps_its_token(whitelist: Whitelist, kind: str) -> None:
    await synced(whitelist, "04A1", "04B2")
    await synced(whitelist, "04A1")
    progress = await begin(whitelist)
    progress = await whitelist.store_page(
        progress, [token("04A1")], unreadable=[("de", "abc", "04b2", kind)], skipped=1, next_url=""
    )
    assert await whitelist.complete(progress, completed_at=at(9)) == Swept()
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": False}


async def test_unreadable_object_of_another_type_does_not_keep_the_card(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1")
    progress = await begin(whitelist)
    progress = await whitelist.store_page(progress, [], unreadable=[("DE", "ABC", "04A1", "APP_USER")], next_url="")
    assert await whitelist.complete(progress, completed_at=at(9)) == Swept(missed=1)


async def test_unfinished_sync_goes_on_after_a_restart_and_sweeps_rightly(tmp_path: Path) -> None:
    first = await Whitelist.open(tmp_path / "whitelist.db")
    await synced(first, "04A1", "04B2", "04C3")
    await synced(first, "04A1", "04B2")
    before = await first.store_page(await begin(first), [token("04A1")], skipped=2, next_url="page 2")
    await first.close()
    second = await Whitelist.open(tmp_path / "whitelist.db")
    progress = await second.progress("emsp")
    assert progress == before
    assert (before.pages, before.tokens, before.skipped, before.next_url) == (1, 1, 2, "page 2")
    await second.complete(await second.store_page(before, [token("04B2")], next_url=""), completed_at=at(9))
    assert await withdrawn(second) == {"04A1": False, "04B2": False, "04C3": True}
    assert await second.progress("emsp") is None
    await second.close()


async def test_doubt_and_attempts_of_an_unfinished_sync_are_remembered(whitelist: Whitelist) -> None:
    progress = await whitelist.resume(await whitelist.resume(await begin(whitelist)))
    assert progress.resumes == 2
    assert await whitelist.progress("emsp") == progress
    progress = await whitelist.store_page(progress, [], next_url="page 2", promised=7)
    progress = await whitelist.store_page(progress, [], next_url="", promised=6, doubt="it broke off")
    assert (progress.resumes, progress.promised, progress.doubt) == (0, 7, "it broke off")
    assert await whitelist.progress("emsp") == progress


async def test_sync_that_another_one_replaced_can_store_nothing(whitelist: Whitelist) -> None:
    replaced = await begin(whitelist)
    current = await begin(whitelist)
    with pytest.raises(BusyError, match="replaced by another"):
        await whitelist.store_page(replaced, [token()], next_url="page 2")
    with pytest.raises(BusyError):
        await whitelist.complete(replaced, completed_at=at(9))
    with pytest.raises(BusyError):
        await whitelist.resume(replaced)
    assert await whitelist.find(CARD) == ()
    assert await whitelist.progress("emsp") == current


async def test_abandoned_sync_is_forgotten_and_its_pages_stay(whitelist: Whitelist) -> None:
    await whitelist.store_page(await begin(whitelist), [token()], next_url="page 2")
    await whitelist.abandon("emsp")
    assert await whitelist.progress("emsp") is None
    assert len(await whitelist.find(CARD)) == 1


async def test_page_with_a_token_that_can_not_be_stored_changes_nothing(whitelist: Whitelist) -> None:
    progress = await begin(whitelist)
    page = [*(token(f"{number:08X}") for number in range(CHUNK)), token(issuer="\ud800")]
    with pytest.raises(StoreError):
        await whitelist.store_page(progress, page, next_url="page 2")
    assert await whitelist.list_tokens() == []
    assert await whitelist.progress("emsp") == progress


async def test_page_of_several_chunks_is_stored_whole(whitelist: Whitelist) -> None:
    page = [token(f"{number:08X}") for number in range(2 * CHUNK + 1)]
    await whitelist.store_page(await begin(whitelist), page, next_url="")
    assert [one.token for one in await whitelist.list_tokens(limit=1000)] == page


async def test_pages_of_every_length_are_stored_by_three_statements(whitelist: Whitelist) -> None:
    progress = await begin(whitelist)
    laid_out = [
        await whitelist.lay_out(progress, [token(f"{number:08X}") for number in range(count)]) for count in range(250)
    ]
    assert {count for page in laid_out for count, _ in page.rows} == {CHUNK, 10, 1}
    assert [sum(count * len(rows) for count, rows in page.rows) for page in laid_out] == list(range(250))


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
async def test_page_that_was_laid_out_is_stored_like_its_tokens(whitelist: Whitelist, count: int) -> None:
    page = [token(f"{number:08X}") for number in reversed(range(count))]
    progress = await begin(whitelist)
    after = await whitelist.store_page(progress, await whitelist.lay_out(progress, page), next_url="")
    assert after.tokens == count
    assert [one.token for one in await whitelist.list_tokens(limit=1000)] == page[::-1]


async def test_complete_sync_is_remembered(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    last = LastSync(SyncKind.FULL, at(0), at(10), at(10), 1, 0)
    assert await whitelist.last_sync("emsp") == last
    assert await whitelist.last_sync("hub") is None
    assert await whitelist.sync_states() == {"emsp": last}


async def test_delta_sync_keeps_the_time_of_the_last_full_one(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    delta = await whitelist.start("emsp", SyncKind.DELTA, "u", reference=at(20), started_at=at(20))
    await whitelist.complete(delta, completed_at=at(30))
    assert await whitelist.last_sync("emsp") == LastSync(SyncKind.DELTA, at(20), at(30), at(10), 0, 0)
    assert [one.synced_at for one in await whitelist.find(CARD)] == [at(30)]


async def test_lookup_is_answered_while_a_transaction_is_open(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def forget_everything(connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall("DELETE FROM token")
        inside.set()
        await go_on.wait()

    writing = asyncio.create_task(whitelist._database.writer.transaction("delete", forget_everything))
    await inside.wait()
    async with asyncio.timeout(30):
        found = await whitelist.find(CARD)
    go_on.set()
    await writing
    assert [one.token for one in found] == [token()]
    assert await whitelist.find(CARD) == ()


async def test_log_does_not_grow_with_the_pages_of_a_sync(whitelist: Whitelist, tmp_path: Path) -> None:
    progress = await begin(whitelist)
    log = tmp_path / "whitelist.db-wal"
    for number in range(60):
        page = [token(f"{number:04X}{card:08X}", visual_number="v" * 2000) for card in range(300)]
        progress = await whitelist.store_page(progress, page, next_url="")
    assert (tmp_path / "whitelist.db").stat().st_size > 30_000_000
    assert log.stat().st_size < 25_000_000


async def test_tokens_of_a_peer_that_is_gone_are_withdrawn_and_no_others(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2")
    await whitelist.put(token("04C3"), "emsp")
    await synced(whitelist, "04D4", peer="hub")
    assert await whitelist.withdraw_peer("emsp") == 3
    assert await withdrawn(whitelist) == {"04A1": True, "04B2": True, "04C3": True, "04D4": False}
    assert await whitelist.sync_states() == {"hub": LastSync(SyncKind.FULL, at(0), at(10), at(10), 1, 0, again=True)}


async def test_peer_that_is_gone_leaves_no_sync_to_go_on_with(whitelist: Whitelist) -> None:
    progress = await whitelist.store_page(await begin(whitelist), [token()], next_url="page 2")
    other = await begin(whitelist, peer="hub")
    assert await whitelist.withdraw_peer("emsp") == 1
    with pytest.raises(BusyError):
        await whitelist.store_page(progress, [token("04FF")], next_url="page 3")
    assert await withdrawn(whitelist) == {CARD: True}
    assert (await whitelist.progress("emsp"), await whitelist.progress("hub")) == (None, other)


@pytest.mark.parametrize("peer", ["nobody", "EMSP", "hub"])
async def test_peer_without_tokens_withdraws_none(whitelist: Whitelist, peer: str) -> None:
    await synced(whitelist, CARD)
    await begin(whitelist, peer="hub")
    assert await whitelist.withdraw_peer(peer) == 0
    assert await withdrawn(whitelist) == {CARD: False}
    assert await whitelist.last_sync("emsp") is not None


async def test_tokens_that_are_withdrawn_already_are_not_counted_again(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    assert [await whitelist.withdraw_peer("emsp") for _ in range(2)] == [1, 0]
    assert await withdrawn(whitelist) == {CARD: True}


@pytest.mark.parametrize("kind", SyncKind)
async def test_peer_that_comes_back_brings_its_tokens_back_by_its_list(whitelist: Whitelist, kind: SyncKind) -> None:
    await synced(whitelist, "04A1", "04B2")
    await whitelist.withdraw_peer("emsp")
    assert await synced(whitelist, "04A1", kind=kind) == Swept()
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": True}


async def test_peer_that_comes_back_brings_its_tokens_back_by_a_push(whitelist: Whitelist) -> None:
    await synced(whitelist, CARD)
    await whitelist.withdraw_peer("emsp")
    assert await whitelist.put(token(), "emsp") is Put.UPDATED
    assert await withdrawn(whitelist) == {CARD: False}


async def test_list_of_a_peer_that_comes_back_wins_over_what_it_pushed_before(whitelist: Whitelist) -> None:
    await whitelist.put(token(last_updated=at(5), issuer="pushed"), "emsp")
    await whitelist.withdraw_peer("emsp")
    await pulled(whitelist, token(issuer="listed"))
    assert await issuers(whitelist) == [("listed", "emsp")]
    assert await withdrawn(whitelist) == {CARD: False}


async def test_withdrawal_that_fails_is_repeated_to_its_end(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2")
    await begin(whitelist)
    await whitelist._database.writer.write(
        "forbid",
        "CREATE TRIGGER forbidden BEFORE UPDATE ON token WHEN new.uid_key = '04B2' AND new.withdrawn"
        " BEGIN SELECT raise(ABORT, 'forbidden'); END",
    )
    with pytest.raises(StoreError, match="can't withdraw a peer's tokens: forbidden"):
        await whitelist.withdraw_peer("emsp")
    assert await withdrawn(whitelist) == {"04A1": False, "04B2": False}
    await whitelist._database.writer.write("allow", "DROP TRIGGER forbidden")
    assert await whitelist.withdraw_peer("emsp") == 2
    assert await withdrawn(whitelist) == {"04A1": True, "04B2": True}
    assert (await whitelist.progress("emsp"), await whitelist.last_sync("emsp")) == (None, None)


async def test_withdrawal_is_durable_where_a_page_of_a_sync_is_not(whitelist: Whitelist) -> None:
    async def synchronous() -> int:
        [[level]] = await whitelist._database.writer._connection.execute_fetchall("PRAGMA synchronous")
        return int(level)

    normal, full = 1, 2
    await synced(whitelist, CARD)
    assert await synchronous() == normal
    await whitelist.withdraw_peer("emsp")
    assert await synchronous() == full


async def test_tokens_of_a_peer_that_is_gone_leave_room_for_those_of_another(whitelist: Whitelist) -> None:
    """The other's list has brought the token, too, and by its next delta it would not come again."""
    await pulled(whitelist, token(last_updated=at(5)))
    await pulled(whitelist, token(last_updated=at(4), issuer="his"), peer="hub")
    before = await begin(whitelist, peer="hub")
    await whitelist.withdraw_peer("emsp")
    assert await asks_again(whitelist, "hub")
    await whitelist.complete(await whitelist.store_page(before, [], next_url=""), completed_at=at(11))
    assert await asks_again(whitelist, "hub")
    await pulled(whitelist, token(last_updated=at(4), issuer="his"), peer="hub")
    assert await issuers(whitelist) == [("his", "hub")]
    assert await withdrawn(whitelist) == {CARD: False}


async def test_withdrawal_of_very_many_leaves_the_log_short(whitelist: Whitelist, tmp_path: Path) -> None:
    progress = await begin(whitelist)
    for number in range(30):
        page = [token(f"{number:04X}{card:08X}", visual_number="v" * 700) for card in range(1000)]
        progress = await whitelist.store_page(progress, page, next_url="")
    assert await whitelist.withdraw_peer("emsp") == 30_000
    assert (await whitelist.count())["emsp"] == TokenCount(30_000, 0, 30_000)
    assert (tmp_path / "whitelist.db-wal").stat().st_size < 25_000_000


async def test_log_of_a_file_with_larger_pages_is_as_short(tmp_path: Path) -> None:
    path = tmp_path / "whitelist.db"
    schema = Schema.load("whitelist", WHITELIST_ID)
    await (await Database.open(path, schema, relaxed_transactions=True, page_size=4096)).close()
    async with closing_at_end(await Whitelist.open(path)) as whitelist:
        progress = await begin(whitelist)
        for number in range(60):
            page = [token(f"{number:04X}{card:08X}", visual_number="v" * 2000) for card in range(300)]
            progress = await whitelist.store_page(progress, page, next_url="")
        assert path.stat().st_size > 30_000_000
        assert path.with_name("whitelist.db-wal").stat().st_size < 25_000_000


async def test_list_is_paged_by_uid_and_filtered_by_peer_and_owner(whitelist: Whitelist) -> None:
    for uid in ("04C3", "04A1", "04b2"):
        await whitelist.put(token(uid), "emsp")
    await whitelist.put(token("04D4", country_code="NL"), "hub")
    first = await whitelist.list_tokens(limit=2)
    assert [one.token.uid for one in first] == ["04A1", "04b2"]
    assert [one.token.uid for one in await whitelist.list_tokens(after=first[-1])] == ["04C3", "04D4"]
    assert [one.token.uid for one in await whitelist.list_tokens(peer="hub")] == ["04D4"]
    assert [one.token.uid for one in await whitelist.list_tokens(owner="de-abc", after=first[0])] == ["04b2", "04C3"]


async def test_tokens_are_counted_by_peer(whitelist: Whitelist) -> None:
    await synced(whitelist, "04A1", "04B2")
    await synced(whitelist, "04A1")
    await synced(whitelist, "04A1")
    await whitelist.put(token("04C3", valid=False), "emsp")
    await begin(whitelist, peer="hub")
    assert await whitelist.count() == {"emsp": TokenCount(3, 1, 1), "hub": TokenCount(0, 0, 0)}


def damage(path: Path) -> None:
    """Overwrite the index that lookups go through."""
    with closing(sqlite3.connect(path)) as connection:
        [[page_size]] = connection.execute("PRAGMA page_size")
        [[root]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'token_key'")
    with path.open("r+b") as file:
        file.seek((root - 1) * page_size)
        file.write(b"\xa5" * page_size)


def set_aside(folder: Path) -> list[str]:
    return [part.name for part in folder.iterdir() if ".corrupt-" in part.name]


async def test_file_that_is_no_database_is_set_aside_at_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "whitelist.db"
    path.write_bytes(b"not a database" * 500)
    whitelist = await Whitelist.open(path)
    await whitelist.put(token(), "emsp")
    assert len(await whitelist.find(CARD)) == 1
    await whitelist.close()
    [aside] = set_aside(tmp_path)
    assert (tmp_path / aside).read_bytes() == b"not a database" * 500
    assert f"set aside as {aside}" in caplog.text


async def test_file_damaged_while_closed_is_told_at_the_lookup_and_rebuilt_on_request(tmp_path: Path) -> None:
    path = tmp_path / "whitelist.db"
    whitelist = await Whitelist.open(path)
    await synced(whitelist, CARD)
    await whitelist.close()
    damage(path)
    whitelist = await Whitelist.open(path)
    with pytest.raises(CorruptError, match=r"whitelist\.db: can't look up a token"):
        await whitelist.find(CARD)
    await asyncio.gather(whitelist.rebuild(), whitelist.rebuild())
    assert await whitelist.find(CARD) == ()
    assert await synced(whitelist, CARD) == Swept()
    assert len(await whitelist.find(CARD)) == 1
    assert len(set_aside(tmp_path)) == 1
    await whitelist.close()


async def test_second_damage_replaces_the_file_set_aside_first(tmp_path: Path) -> None:
    path = tmp_path / "whitelist.db"
    path.write_bytes(b"first" * 500)
    await (await Whitelist.open(path)).close()
    path.write_bytes(b"second" * 500)
    await (await Whitelist.open(path)).close()
    [aside] = set_aside(tmp_path)
    assert (tmp_path / aside).read_bytes() == b"second" * 500


async def test_sync_that_meets_a_rebuilt_file_has_to_start_again(whitelist: Whitelist) -> None:
    progress = await begin(whitelist)
    await whitelist.rebuild()
    with pytest.raises(BusyError):
        await whitelist.store_page(progress, [token()], next_url="page 2")
    assert await whitelist.find(CARD) == ()


async def test_database_of_another_program_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "whitelist.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="another program"):
        await Whitelist.open(path)
    assert set_aside(tmp_path) == []


async def test_damaged_file_that_an_agent_may_have_open_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "whitelist.db"
    path.write_bytes(b"no database" * 500)
    with pytest.raises(CorruptError, match=r"whitelist\.db"):
        await Whitelist.open(path, shared=True)
    assert path.read_bytes().startswith(b"no database")
    assert set_aside(tmp_path) == []
