"""Relations to peers: which token opens what, what a whole exchange changes, and that nothing is stored in clear."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import BusyError
from agent.store.database import COMPANIONS
from agent.store.peers import (
    Accepted,
    Claim,
    Exchanged,
    PeerEndpoint,
    PeerRelation,
    PeerRole,
    PeerStatus,
    PeerStore,
    TokenKind,
)
from tests.store.samples import NOON, at

ROLES = (PeerRole("EMSP", "DE", "ABC", "A name"),)
ENDPOINTS = (PeerEndpoint("tokens", "SENDER", "https://emsp.example/tokens"),)
EXCHANGED = Exchanged("https://emsp.example/versions", "2.2.1", "plain", "theirs", "ours", ENDPOINTS, ROLES)


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[PeerStore]:
    opened = await PeerStore.open(tmp_path / "state.db")
    yield opened
    await opened.close()


async def relation(peers: PeerStore) -> PeerRelation:
    found = await peers.relation("emsp")
    assert found is not None
    return found


async def revision_of(peers: PeerStore, name: str = "emsp") -> int:
    found = await peers.relation(name)
    assert found is not None
    return found.revision


async def invited(peers: PeerStore, token: str = "a") -> None:
    await peers.invite("emsp", token, expires_at=at(60), at=NOON, ca_file=None, note="invited")


async def complete(peers: PeerStore, exchanged: Exchanged = EXCHANGED, invite: str | None = None) -> None:
    await peers.complete("emsp", exchanged, revision=(await relation(peers)).revision, at=at(1), invite=invite)


async def kind_of(peers: PeerStore, token: str) -> TokenKind | None:
    accepted = await peers.caller([token], NOON)
    return None if accepted is None else accepted.kind


async def test_invite_opens_until_it_expires(peers: PeerStore) -> None:
    await invited(peers)
    opened = Accepted("emsp", TokenKind.INVITE, PeerStatus.INVITED, "a", unused=False, roles=())
    assert await peers.caller(["a"], at(59)) == opened
    assert await peers.caller(["a"], at(60)) is None


async def test_second_invite_takes_the_first_one_back(peers: PeerStore) -> None:
    await invited(peers)
    await invited(peers, "b")
    assert (await kind_of(peers, "a"), await kind_of(peers, "b")) == (None, TokenKind.INVITE)


async def test_either_reading_of_a_header_is_found(peers: PeerStore) -> None:
    await invited(peers)
    for candidates in (["a", "x"], ["x", "a"]):
        accepted = await peers.caller(candidates, NOON)
        assert accepted is not None
        assert accepted.token == "a"


@pytest.mark.parametrize("candidates", [[], [""], ["x"], ["x", "y"]])
async def test_unknown_token_is_nobodys(peers: PeerStore, candidates: list[str]) -> None:
    await invited(peers)
    assert await peers.caller(candidates, NOON) is None


async def test_complete_exchange_spends_the_invite_and_keeps_everything(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers, invite="a")
    found = await relation(peers)
    assert (found.status, found.encoding, found.their_token) == (PeerStatus.REGISTERED, "plain", "theirs")
    assert (found.endpoints, found.roles) == (ENDPOINTS, ROLES)
    assert found.endpoint("tokens", "SENDER") == "https://emsp.example/tokens"
    assert (await kind_of(peers, "a"), await kind_of(peers, "ours")) == (None, TokenKind.CURRENT)


async def test_exchange_on_a_spent_invite_changes_nothing(peers: PeerStore) -> None:
    await invited(peers)
    await invited(peers, "b")
    before = await relation(peers)
    with pytest.raises(BusyError):
        await complete(peers, invite="a")
    assert await relation(peers) == before
    assert await kind_of(peers, "ours") is None


async def test_exchange_that_another_one_overtook_changes_nothing(peers: PeerStore) -> None:
    await invited(peers)
    revision = (await relation(peers)).revision
    await complete(peers)
    with pytest.raises(BusyError):
        await peers.complete("emsp", replace(EXCHANGED, our_token="late"), revision=revision, at=at(2))
    assert (await kind_of(peers, "ours"), await kind_of(peers, "late")) == (TokenKind.CURRENT, None)


async def test_old_token_opens_until_the_new_one_has_been_used(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    await complete(peers, replace(EXCHANGED, our_token="newer", their_token="their newer"))
    assert await kind_of(peers, "ours") is TokenKind.PREVIOUS
    assert (await relation(peers)).their_previous_token == "theirs"
    await peers.confirm_used("newer", at(3))
    assert (await kind_of(peers, "ours"), await kind_of(peers, "newer")) == (None, TokenKind.CURRENT)
    found = await relation(peers)
    assert (found.confirmed, found.their_previous_token, found.note) == (True, None, "")


async def test_use_of_a_token_that_is_not_current_confirms_nothing(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    await complete(peers, replace(EXCHANGED, our_token="newer"))
    await peers.confirm_used("ours", at(3))
    assert await kind_of(peers, "ours") is TokenKind.PREVIOUS


async def test_confirmation_does_not_disturb_an_exchange_under_way(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    begun = await peers.begin(
        "emsp", "b", status=PeerStatus.ROTATING, revision=(await relation(peers)).revision, at=at(2), note="cut off"
    )
    await peers.confirm_used("ours", at(3))
    await peers.complete("emsp", replace(EXCHANGED, our_token="b"), revision=begun.revision, at=at(4))
    assert await kind_of(peers, "b") is TokenKind.CURRENT


async def test_token_that_the_oldest_peer_knows_is_kept_over_two_unanswered_exchanges(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    await complete(peers, replace(EXCHANGED, our_token="2", their_token="theirs 2"))
    await complete(peers, replace(EXCHANGED, our_token="3", their_token="theirs 3"))
    found = await relation(peers)
    assert (found.their_token, found.their_previous_token) == ("theirs 3", "theirs")


async def test_pending_token_of_an_interrupted_rotation_survives_the_next_attempt(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    await peers.begin(
        "emsp",
        "first try",
        status=PeerStatus.ROTATING,
        revision=(await relation(peers)).revision,
        at=at(2),
        note="cut off",
    )
    await peers.begin(
        "emsp",
        "second try",
        status=PeerStatus.ROTATING,
        revision=(await relation(peers)).revision,
        at=at(3),
        note="cut off",
    )
    assert [await kind_of(peers, token) for token in ("ours", "first try", "second try")] == [
        TokenKind.CURRENT,
        TokenKind.PENDING,
        TokenKind.PENDING,
    ]


async def test_first_exchange_given_up_leaves_nothing(peers: PeerStore) -> None:
    await peers.begin(
        "emsp", "b", status=PeerStatus.REGISTERING, revision=None, at=NOON, note="cut off", versions_url="https://x/"
    )
    await peers.give_up("emsp", "b", before=None, revision=await revision_of(peers))
    assert await peers.relations() == []
    assert await kind_of(peers, "b") is None


async def test_rotation_given_up_leaves_the_relation_as_it_was(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    before = await relation(peers)
    await peers.begin(
        "emsp", "b", status=PeerStatus.ROTATING, revision=(await relation(peers)).revision, at=at(2), note="cut off"
    )
    await peers.give_up("emsp", "b", before=before, revision=await revision_of(peers))
    after = await relation(peers)
    assert replace(after, revision=0) == replace(before, revision=0)
    assert (await kind_of(peers, "ours"), await kind_of(peers, "b")) == (TokenKind.CURRENT, None)


async def test_ended_relation_knows_no_token(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    await peers.end("emsp", at(2), "ended")
    found = await relation(peers)
    assert (found.status, found.their_token, found.endpoints) == (PeerStatus.UNREGISTERED, None, ())
    assert await kind_of(peers, "ours") is None


async def test_change_of_another_process_is_noticed(peers: PeerStore, tmp_path: Path) -> None:
    other = await PeerStore.open(tmp_path / "state.db")
    before = await peers.changed()
    await invited(other)
    after = await peers.changed()
    await other.begin("hub", "b", status=PeerStatus.REGISTERING, revision=None, at=NOON, note="")
    await other.give_up("hub", "b", before=None, revision=await revision_of(other, "hub"))
    await other.close()
    assert before < after < await peers.changed()


async def test_of_two_exchanges_at_once_one_is_kept_whole(peers: PeerStore) -> None:
    await invited(peers)
    revision = (await relation(peers)).revision
    exchanges = [replace(EXCHANGED, our_token=f"ours {n}", their_token=f"theirs {n}") for n in range(2)]
    results = await asyncio.gather(
        *(peers.complete("emsp", one, revision=revision, at=at(1), invite="a") for one in exchanges),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), BusyError]
    assert (await relation(peers)).their_token == "theirs 0"


async def test_tokens_that_we_issue_are_nowhere_in_the_file(peers: PeerStore, tmp_path: Path) -> None:
    await invited(peers, "token-a-in-clear")
    await complete(peers, replace(EXCHANGED, our_token="token-c-in-clear"))
    await peers.begin(
        "emsp",
        "token-b-in-clear",
        status=PeerStatus.ROTATING,
        revision=(await relation(peers)).revision,
        at=at(2),
        note="",
    )
    files = [tmp_path / f"state.db{suffix}" for suffix in COMPANIONS]
    with closing(sqlite3.connect(files[0])) as connection:
        everything = "\n".join(connection.iterdump())
    content = b"".join(path.read_bytes() for path in files)
    assert "theirs" in everything
    assert b"-in-clear" not in content


async def test_tokens_do_not_show_in_what_is_printed(peers: PeerStore) -> None:
    await invited(peers, "secret-a")
    await complete(peers, replace(EXCHANGED, our_token="secret-ours", their_token="secret-theirs"))
    shown = repr([await relation(peers), await peers.caller(["secret-ours"], NOON), EXCHANGED])
    assert "secret" not in shown
    assert "theirs" not in shown


async def test_quirks_of_a_peer_are_kept(peers: PeerStore) -> None:
    await invited(peers)
    assert not (await relation(peers)).trailing_slash
    await complete(peers, replace(EXCHANGED, trailing_slash=True))
    found = await relation(peers)
    assert (found.encoding, found.trailing_slash) == ("plain", True)


async def test_party_of_another_registered_peer_is_claimed_in_any_case_and_nothing_is_changed(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)
    await peers.invite("hub", "h", expires_at=at(60), at=NOON, ca_file=None, note="invited")
    before = await peers.relation("hub")
    assert before is not None
    claiming = replace(EXCHANGED, our_token="hubs", roles=(PeerRole("HUB", "DE", "HUB"), PeerRole("CPO", "de", "abc")))
    claim = await peers.complete("hub", claiming, revision=before.revision, at=at(2), invite="h")
    assert claim == Claim("DE", "ABC", "peer emsp")
    assert await peers.relation("hub") == before
    assert (await kind_of(peers, "h"), await kind_of(peers, "hubs")) == (TokenKind.INVITE, None)


@pytest.mark.parametrize("status", PeerStatus)
async def test_party_is_a_peers_while_it_is_registered(peers: PeerStore, status: PeerStatus) -> None:
    await invited(peers)
    await complete(peers)
    await peers._database.writer.write("set the status", "UPDATE peer SET status = ?", (status,))
    await peers.invite("hub", "h", expires_at=at(60), at=NOON, ca_file=None, note="invited")
    hub = await peers.relation("hub")
    assert hub is not None
    claim = await peers.complete("hub", replace(EXCHANGED, our_token="hubs"), revision=hub.revision, at=at(2))
    assert (claim is not None) is (status in {PeerStatus.REGISTERED, PeerStatus.ROTATING})


async def test_of_two_processes_that_claim_one_party_at_once_one_gets_it(peers: PeerStore, tmp_path: Path) -> None:
    other = await PeerStore.open(tmp_path / "state.db")
    await invited(peers)
    await other.invite("hub", "h", expires_at=at(60), at=NOON, ca_file=None, note="invited")
    hub = await other.relation("hub")
    assert hub is not None
    claims = await asyncio.gather(
        peers.complete("emsp", EXCHANGED, revision=(await relation(peers)).revision, at=at(1)),
        other.complete("hub", replace(EXCHANGED, our_token="hubs"), revision=hub.revision, at=at(1)),
    )
    await other.close()
    assert claims.count(None) == 1


async def test_exchange_on_a_relation_that_has_changed_is_not_begun(peers: PeerStore) -> None:
    await invited(peers)
    before = await relation(peers)
    await complete(peers)
    for revision in (None, before.revision):
        with pytest.raises(BusyError):
            await peers.begin("emsp", "b", status=PeerStatus.REGISTERING, revision=revision, at=at(2), note="")
    with pytest.raises(BusyError):
        await peers.begin("new", "b", status=PeerStatus.REGISTERING, revision=1, at=at(2), note="")
    assert (await relation(peers)).status is PeerStatus.REGISTERED
    assert await kind_of(peers, "b") is None
    assert await peers.relation("new") is None


async def begun(peers: PeerStore, token: str, status: PeerStatus = PeerStatus.ROTATING, note: str = "cut off") -> int:
    found = await peers.relation("emsp")
    revision = None if found is None else found.revision
    began = await peers.begin("emsp", token, status=status, revision=revision, at=at(2), note=note)
    return began.revision


async def registered(peers: PeerStore) -> None:
    await invited(peers)
    await complete(peers)


async def rotated(peers: PeerStore, our_token: str = "newer") -> None:
    """We have begun and completed an exchange."""
    await begun(peers, our_token)
    await complete(peers, replace(EXCHANGED, our_token=our_token))


async def test_token_that_the_peer_replaced_may_still_change_the_relation(peers: PeerStore) -> None:
    await registered(peers)
    await complete(peers, replace(EXCHANGED, our_token="newer"))
    accepted = await peers.caller(["ours"], NOON)
    assert accepted is not None
    assert (accepted.kind, accepted.renounced) == (TokenKind.PREVIOUS, False)


async def test_token_that_we_replaced_is_renounced_and_the_new_one_is_not(peers: PeerStore) -> None:
    await registered(peers)
    await rotated(peers)
    old, new = await peers.caller(["ours"], NOON), await peers.caller(["newer"], NOON)
    assert old is not None
    assert new is not None
    assert (old.kind, old.renounced) == (TokenKind.PREVIOUS, True)
    assert (new.kind, new.renounced) == (TokenKind.CURRENT, False)


async def test_token_that_we_replaced_stays_renounced_over_an_exchange_of_the_peers(peers: PeerStore) -> None:
    await registered(peers)
    await rotated(peers)
    await complete(peers, replace(EXCHANGED, our_token="newest"))
    accepted = [await peers.caller([token], NOON) for token in ("ours", "newer", "newest")]
    assert [one is not None and one.renounced for one in accepted] == [True, False, False]


@pytest.mark.parametrize("who", ["we", "the peer"])
async def test_previous_token_expires_after_a_day(peers: PeerStore, who: str) -> None:
    await registered(peers)
    await (rotated(peers) if who == "we" else complete(peers, replace(EXCHANGED, our_token="newer")))
    day = timedelta(days=1)
    assert await peers.caller(["ours"], at(1) + day - timedelta(seconds=1)) is not None
    assert await peers.caller(["ours"], at(1) + day) is None
    assert await kind_of(peers, "newer") is TokenKind.CURRENT


async def test_next_exchange_does_not_let_a_previous_token_live_longer(peers: PeerStore) -> None:
    await registered(peers)
    await complete(peers, replace(EXCHANGED, our_token="newer"))
    later = replace(EXCHANGED, our_token="newest")
    await peers.complete("emsp", later, revision=await revision_of(peers), at=at(1) + timedelta(hours=23))
    assert await peers.caller(["ours"], at(1) + timedelta(days=1)) is None


async def test_expired_token_is_forgotten_when_it_is_shown(peers: PeerStore) -> None:
    await invited(peers)
    assert await peers.caller(["a"], at(60)) is None
    assert await peers.caller(["a"], NOON) is None


async def test_expired_tokens_are_forgotten_with_the_next_invitation(peers: PeerStore) -> None:
    await invited(peers)
    await peers.invite("hub", "h", expires_at=at(200), at=at(60), ca_file=None, note="")
    assert await kind_of(peers, "a") is None
    assert await kind_of(peers, "h") is TokenKind.INVITE


async def test_use_of_the_current_token_in_the_middle_of_a_rotation_leaves_what_is_known_of_that(
    peers: PeerStore,
) -> None:
    await registered(peers)
    await complete(peers, replace(EXCHANGED, our_token="newer", their_token="their newer"))
    await begun(peers, "b")
    await peers.confirm_used("newer", at(3))
    found = await relation(peers)
    assert (found.status, found.note, found.their_previous_token) == (PeerStatus.ROTATING, "cut off", "theirs")
    assert found.confirmed


async def test_rotation_given_up_after_the_peer_has_used_its_token_leaves_no_doubt_about_that(
    peers: PeerStore,
) -> None:
    await registered(peers)
    await complete(peers, replace(EXCHANGED, our_token="newer", their_token="their newer", note="not used yet"))
    before = await relation(peers)
    revision = await begun(peers, "b")
    await peers.confirm_used("newer", at(3))
    await peers.give_up("emsp", "b", before=before, revision=revision)
    after = await relation(peers)
    assert (after.status, after.note, after.their_previous_token) == (PeerStatus.REGISTERED, "", None)


async def test_confirmation_says_whether_an_old_token_is_refused_from_then_on(peers: PeerStore) -> None:
    await registered(peers)
    assert not await peers.confirm_used("ours", at(2))
    await complete(peers, replace(EXCHANGED, our_token="newer"))
    assert await peers.confirm_used("newer", at(3))
    assert not await peers.confirm_used("newer", at(3))


async def test_first_exchange_given_up_leaves_the_tokens_of_another_attempt(peers: PeerStore) -> None:
    await begun(peers, "first", PeerStatus.REGISTERING)
    await begun(peers, "second", PeerStatus.REGISTERING)
    await peers.give_up("emsp", "first", before=None, revision=await revision_of(peers))
    assert (await kind_of(peers, "first"), await kind_of(peers, "second")) == (None, TokenKind.PENDING)
    assert (await relation(peers)).status is PeerStatus.REGISTERING


async def test_exchange_given_up_leaves_a_relation_that_has_changed_meanwhile(peers: PeerStore) -> None:
    await registered(peers)
    before = await relation(peers)
    revision = await begun(peers, "first")
    await begun(peers, "second", note="of the second")
    await peers.give_up("emsp", "first", before=before, revision=revision)
    found = await relation(peers)
    assert (found.status, found.note) == (PeerStatus.ROTATING, "of the second")
    assert (await kind_of(peers, "first"), await kind_of(peers, "second")) == (None, TokenKind.PENDING)


async def test_token_that_may_be_of_use_is_kept_with_a_registered_peer_alone(peers: PeerStore) -> None:
    await invited(peers)
    assert not await peers.keep_candidate("emsp", "late", "rotate")
    assert (await relation(peers)).their_previous_token is None
    await complete(peers)
    assert await peers.keep_candidate("emsp", "late", "rotate")
    found = await relation(peers)
    assert (found.their_token, found.their_previous_token, found.note) == ("theirs", "late", "rotate")


async def invited_anew(peers: PeerStore, ca_file: str | None = None) -> PeerRelation:
    await peers.invite("emsp", "anew", expires_at=at(60), at=at(5), ca_file=ca_file, note="invited anew")
    return await relation(peers)


async def test_invitation_leaves_whom_a_registered_peer_is_trusted_by(peers: PeerStore) -> None:
    await peers.invite("emsp", "a", expires_at=at(60), at=NOON, ca_file="ca.pem", note="invited")
    await complete(peers)
    before = await relation(peers)
    after = await invited_anew(peers)
    assert (after.ca_file, after.changed_at) == ("ca.pem", before.changed_at)
    assert (await invited_anew(peers, "other.pem")).ca_file == "other.pem"


async def test_invitation_leaves_what_is_known_of_an_exchange_that_was_cut_off(peers: PeerStore) -> None:
    await registered(peers)
    await begun(peers, "b")
    before = await relation(peers)
    after = await invited_anew(peers)
    assert (after.status, after.note, after.changed_at) == (PeerStatus.ROTATING, "cut off", before.changed_at)


async def test_invitation_after_the_end_says_anew_whom_to_trust(peers: PeerStore) -> None:
    await peers.invite("emsp", "a", expires_at=at(60), at=NOON, ca_file="ca.pem", note="invited")
    await complete(peers)
    await peers.end("emsp", at(2))
    after = await invited_anew(peers)
    assert (after.status, after.ca_file, after.note) == (PeerStatus.INVITED, None, "invited anew")
