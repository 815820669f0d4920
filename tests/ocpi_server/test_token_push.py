"""What a peer may push, what comes of it, and that GET returns what was stored: OCPI 2.2.1 mod_tokens."""

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from agent.model import EnergyContract, ListedToken, Token, TokenType, Uid, WhitelistType
from agent.ocpi.server.ports import Access, Caller, Refusal, Stored, TokenKey
from agent.ocpi.tokens import TokenType as WireType
from agent.runtime.token_push import TokenPush
from agent.store.whitelist import Put, Whitelist
from tests.ocpi_server.site import NAME, NOON, Site, card, client_of, site_in, stored_card

URL = "/2.2.1/tokens/DE/ABC/04A1B2C3"
KEY = TokenKey("DE", "ABC", "04A1B2C3", WireType.RFID)
LATER = "2026-03-01T13:00:00Z"
FULL = card(
    visual_number="DE-ABC-1",
    group_id="group",
    language="de",
    default_profile_type="GREEN",
    energy_contract={"supplier_name": "A supplier", "contract_id": "C-1"},
)


async def stored(site: Site, uid: str = "04A1B2C3") -> list[ListedToken]:
    return list(await site.whitelist.find(Uid(uid)))


def caller(*, peer: str = NAME, pushes_for_others: bool = False) -> Caller:
    return Caller(peer, Access.EVERYTHING, "token", frozenset({("DE", "ABC")}), pushes_for_others)


def raw(**changes: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in changes.items()}


def codes(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["status_code"]


async def test_new_token_is_created_and_known_one_updated(site: Site, peer: httpx.AsyncClient) -> None:
    assert codes(await peer.put(URL, json=card())) == (201, 1000)
    assert codes(await peer.put(URL, json=card(valid=False))) == (200, 1000)
    assert await stored(site) == [ListedToken(stored_card(valid=False), NAME)]


async def test_answered_token_is_on_disk(tmp_path: Path, site: Site, peer: httpx.AsyncClient) -> None:
    await peer.put(URL, json=card())
    other = await Whitelist.open(tmp_path / "whitelist.db")
    found = await other.find(Uid("04A1B2C3"))
    await other.close()
    [[synchronous]] = await site.whitelist._database.writer._connection.execute_fetchall("PRAGMA synchronous")
    assert found == (ListedToken(stored_card(), NAME),)
    assert synchronous == 2, "FULL: the log is flushed with every commit"


@pytest.mark.parametrize("body", [card(), FULL, card(uid="04a1b2c3"), card(last_updated="2026-03-01T12:00:00.123Z")])
async def test_get_returns_exactly_what_was_stored(peer: httpx.AsyncClient, body: dict[str, Any]) -> None:
    await peer.put(URL, json=body)
    answer = await peer.get(URL)
    assert (codes(answer), answer.json()["data"]) == ((200, 1000), body)


@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00+00:00", "2026-03-01T12:00:00Z"),
        ("2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00.2", "2026-03-01T12:00:00.2Z"),
        ("2026-03-01T12:00:00.123456Z", "2026-03-01T12:00:00.1234Z"),
    ],
)
async def test_time_in_every_spelling_comes_back_in_ocpis(peer: httpx.AsyncClient, sent: str, returned: str) -> None:
    await peer.put(URL, json=card(last_updated=sent))
    assert (await peer.get(URL)).json()["data"]["last_updated"] == returned


async def test_same_uid_may_exist_once_a_type(site: Site, peer: httpx.AsyncClient) -> None:
    assert codes(await peer.put(URL, json=card())) == (201, 1000)
    assert codes(await peer.put(f"{URL}?type=APP_USER", json=card(type="APP_USER"))) == (201, 1000)
    assert (await peer.get(f"{URL}?type=APP_USER")).json()["data"]["type"] == "APP_USER"
    assert (await peer.get(URL)).json()["data"]["type"] == "RFID"


@pytest.mark.parametrize("uid", ["a/b", "a b", "%2F", "04:A1", "a?b", "x#y", "..."])
async def test_uid_of_any_characters_stays_one_segment(peer: httpx.AsyncClient, uid: str) -> None:
    path = "/2.2.1/tokens/DE/ABC/" + "".join(f"%{byte:02X}" for byte in uid.encode())
    assert codes(await peer.put(path, json=card(uid))) == (201, 1000)
    assert (await peer.get(path)).json()["data"]["uid"] == uid


@pytest.mark.parametrize("path", ["/2.2.1/tokens/de/abc/04a1b2c3", f"{URL}/", f"{URL}?type=rfid"])
async def test_path_in_another_case_or_with_a_slash_means_the_same_token(peer: httpx.AsyncClient, path: str) -> None:
    await peer.put(URL, json=card())
    assert codes(await peer.get(path)) == (200, 1000)
    assert codes(await peer.put(path, json=card())) == (200, 1000)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", card(uid="04FF")),
        ("", card(party_id="XYZ")),
        ("", card(country_code="NL")),
        ("", card(type="APP_USER")),
        ("?type=APP_USER", card()),
        ("", card(whitelist="SOMETIMES")),
        ("", card(last_updated="yesterday")),
        ("", card(last_updated="0001-01-01T00:00:00+14:00")),
        ("", card(contract_id="x" * 37)),
        ("", card(issuer=None)),
        ("", {key: value for key, value in card().items() if key != "valid"}),
        ("", []),
        ("", "text"),
        ("", None),
    ],
)
async def test_put_that_breaks_the_rules_is_2001_and_stores_nothing(
    site: Site, peer: httpx.AsyncClient, query: str, body: object
) -> None:
    answer = await peer.put(URL + query, content=json.dumps(body))
    assert codes(answer) == (200, 2001)
    assert "data" not in answer.json()
    assert await stored(site) == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_token_of_another_owner_is_404(site: Site, peer: httpx.AsyncClient, method: str) -> None:
    body = {"GET": None, "PUT": card(party_id="XYZ"), "PATCH": {"valid": False, "last_updated": LATER}}[method]
    answer = await peer.request(method, "/2.2.1/tokens/DE/XYZ/04A1B2C3", json=body)
    assert codes(answer) == (404, 2001)
    assert await stored(site) == []


async def test_peer_that_may_push_for_others_does(tmp_path: Path) -> None:
    async with (
        site_in(tmp_path, push_for_others=frozenset({NAME}), serve=False) as site,
        client_of(site, await site.agreed()) as hub,
    ):
        assert codes(await hub.put("/2.2.1/tokens/NL/XYZ/04", json=card("04", country_code="NL", party_id="XYZ"))) == (
            201,
            1000,
        )
        assert codes(await hub.put("/2.2.1/tokens/NL/XYZ/04", json=card("04"))) == (200, 2001)


async def test_stale_put_is_answered_well_and_changes_nothing(site: Site, peer: httpx.AsyncClient) -> None:
    await peer.put(URL, json=card(last_updated=LATER))
    answer = await peer.put(URL, json=card(valid=False))
    assert codes(answer) == (200, 1000)
    assert "newer" in answer.json()["status_message"]
    assert [one.token.valid for one in await stored(site)] == [True]


@pytest.mark.parametrize(
    "changes",
    [
        {"valid": False},
        {"whitelist": "NEVER", "issuer": "Another"},
        {"group_id": None},
        {"energy_contract": None, "language": None, "visual_number": None, "default_profile_type": None},
        {"energy_contract": {"supplier_name": "Another"}},
        {"type": "RFID", "uid": "04A1B2C3", "country_code": "DE", "party_id": "ABC"},
        {},
        {"something_new": 1},
    ],
)
async def test_patch_changes_what_it_names_and_null_clears(peer: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    await peer.put(URL, json=FULL)
    assert codes(await peer.patch(URL, json=changes | {"last_updated": LATER})) == (200, 1000)
    expected = {key: value for key, value in (FULL | changes).items() if value is not None and key in FULL}
    assert (await peer.get(URL)).json()["data"] == expected | {"last_updated": LATER}


@pytest.mark.parametrize(
    "changes",
    [
        {"valid": False},
        {"valid": False, "last_updated": None},
        {"valid": False, "last_updated": "nonsense"},
        {"valid": None, "last_updated": LATER},
        {"uid": None, "last_updated": LATER},
        {"uid": "04FF", "last_updated": LATER},
        {"party_id": "XYZ", "last_updated": LATER},
        {"type": "APP_USER", "last_updated": LATER},
        {"last_updated": "0001-01-01T00:00:00+14:00"},
        {"contract_id": "C\n", "last_updated": LATER},
        {"energy_contract": {}, "last_updated": LATER},
        {"whitelist": "SOMETIMES", "last_updated": LATER},
        {"group_id": 7, "last_updated": LATER},
        {"group_id": "x" * 37, "last_updated": LATER},
        [],
        [{"last_updated": LATER}],
    ],
)
async def test_patch_that_breaks_the_rules_is_2001_and_changes_nothing(
    site: Site, peer: httpx.AsyncClient, changes: object
) -> None:
    await peer.put(URL, json=card())
    assert codes(await peer.patch(URL, json=changes)) == (200, 2001)
    assert await stored(site) == [ListedToken(stored_card(), NAME)]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_unknown_token_is_404_with_2004(peer: httpx.AsyncClient, method: str) -> None:
    assert codes(await peer.request(method, URL, json={"last_updated": LATER})) == (404, 2004)


async def test_stale_patch_is_answered_well_and_changes_nothing(site: Site, peer: httpx.AsyncClient) -> None:
    await peer.put(URL, json=card(last_updated=LATER))
    answer = await peer.patch(URL, json={"valid": False, "last_updated": "2026-03-01T12:00:00Z"})
    assert codes(answer) == (200, 1000)
    assert [one.token.valid for one in await stored(site)] == [True]


async def test_patches_at_once_lose_nothing_of_each_other(peer: httpx.AsyncClient) -> None:
    await peer.put(URL, json=card())
    fields = {"visual_number": "V", "group_id": "G", "language": "de", "issuer": "I", "valid": False}
    await asyncio.gather(
        *(peer.patch(URL, json={name: value, "last_updated": LATER}) for name, value in fields.items())
    )
    data = (await peer.get(URL)).json()["data"]
    assert {name: data[name] for name in fields} == fields


async def test_token_with_a_time_far_ahead_can_be_patched_with_the_time_of_the_patch(
    site: Site, peer: httpx.AsyncClient
) -> None:
    await peer.put(URL, json=card(last_updated="2099-01-01T00:00:00Z"))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    assert codes(await peer.patch(URL, json={"valid": False, "last_updated": now})) == (200, 1000)
    assert [one.token.valid for one in await stored(site)] == [False]


async def test_older_of_two_times_far_ahead_changes_nothing(site: Site, peer: httpx.AsyncClient) -> None:
    await peer.put(URL, json=card(last_updated="2099-01-01T00:00:00Z", valid=False))
    assert codes(await peer.patch(URL, json={"valid": True, "last_updated": "2098-01-01T00:00:00Z"})) == (200, 1000)
    assert [one.token.valid for one in await stored(site)] == [False]


class Interrupted:
    """A whitelist whose token somebody else changes after every time that it was read."""

    def __init__(self, whitelist: Whitelist, others: list[Token]) -> None:
        self._whitelist = whitelist
        self._others = others

    async def get(self, country_code: str, party_id: str, uid: str, kind: TokenType) -> ListedToken | None:
        found = await self._whitelist.get(country_code, party_id, uid, kind)
        if self._others:
            await self._whitelist.put(self._others.pop(0), NAME)
        return found

    async def put(self, token: Token, peer: str, *, instead_of: Token | None = None) -> Put:
        return await self._whitelist.put(token, peer, instead_of=instead_of)


async def test_patch_that_another_one_overtakes_is_merged_with_what_that_brought(site: Site) -> None:
    await site.whitelist.put(stored_card(), NAME)
    others = [stored_card(group_id="G"), stored_card(group_id="G", issuer="Another")]
    changes = raw(valid=False, last_updated=LATER)
    assert await TokenPush(Interrupted(site.whitelist, others)).patch(caller(), KEY, changes) is Stored.UPDATED
    at_one = NOON + timedelta(hours=1)
    changed = stored_card(group_id="G", issuer="Another", valid=False, last_updated=at_one)
    assert await stored(site) == [ListedToken(changed, NAME)]


async def test_patch_that_a_newer_token_overtakes_changes_nothing(site: Site) -> None:
    await site.whitelist.put(stored_card(), NAME)
    newer = stored_card(last_updated=NOON + timedelta(hours=2))
    changes = raw(valid=False, last_updated=LATER)
    assert await TokenPush(Interrupted(site.whitelist, [newer])).patch(caller(), KEY, changes) is Stored.STALE
    assert await stored(site) == [ListedToken(newer, NAME)]


async def test_patch_that_is_overtaken_all_the_time_is_3000(site: Site) -> None:
    await site.whitelist.put(stored_card(), NAME)
    others = [stored_card(issuer=f"Issuer {n}") for n in range(100)]
    answer = await TokenPush(Interrupted(site.whitelist, others)).patch(
        caller(), KEY, raw(valid=False, last_updated=LATER)
    )
    assert isinstance(answer, Refusal)
    assert (answer.http_status, answer.status_code) == (200, 3000)
    assert [one.token.valid for one in await stored(site)] == [True]


async def test_patches_through_two_files_open_at_once_lose_nothing_of_each_other(tmp_path: Path, site: Site) -> None:
    await site.whitelist.put(stored_card(), NAME)
    other = await Whitelist.open(tmp_path / "whitelist.db")
    both = [TokenPush(site.whitelist), TokenPush(other)]
    fields: dict[str, Any] = {
        "visual_number": "V",
        "group_id": "G",
        "language": "de",
        "issuer": "I",
        "contract_id": "C",
        "valid": False,
    }
    answers = await asyncio.gather(
        *(
            both[number % 2].patch(caller(), KEY, raw(last_updated=LATER, **{name: value}))
            for number, (name, value) in enumerate(fields.items())
        )
    )
    await other.close()
    assert set(answers) == {Stored.UPDATED}
    assert await stored(site) == [ListedToken(stored_card(**fields, last_updated=NOON + timedelta(hours=1)), NAME)]


FULL_CARD = stored_card(
    visual_number="V",
    group_id="G",
    language="de",
    default_profile_type="FAST",
    energy_contract=EnergyContract("S", "C"),
)


@pytest.mark.parametrize("expected", [FULL_CARD, stored_card("04a1b2c3")])
async def test_put_in_place_of_what_is_there_replaces_it(site: Site, expected: Token) -> None:
    await site.whitelist.put(expected, NAME)
    assert await site.whitelist.put(stored_card(issuer="New"), NAME, instead_of=expected) is Put.UPDATED
    assert await stored(site) == [ListedToken(stored_card(issuer="New"), NAME)]


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": "04a1b2c3"},
        {"country_code": "de"},
        {"contract_id": "other"},
        {"issuer": "other"},
        {"valid": False},
        {"whitelist": WhitelistType.NEVER},
        {"last_updated": NOON - timedelta(microseconds=1)},
        {"visual_number": None},
        {"group_id": "other"},
        {"language": None},
        {"default_profile_type": None},
        {"energy_contract": None},
        {"energy_contract": EnergyContract("S")},
    ],
)
async def test_put_in_place_of_what_is_not_there_any_more_changes_nothing(site: Site, changes: dict[str, Any]) -> None:
    await site.whitelist.put(FULL_CARD, NAME)
    expected = dataclasses.replace(FULL_CARD, **changes)
    assert await site.whitelist.put(stored_card(issuer="New"), NAME, instead_of=expected) is Put.STALE
    assert await stored(site) == [ListedToken(FULL_CARD, NAME)]


async def test_put_in_place_of_a_token_that_is_not_there_stores_nothing(site: Site) -> None:
    assert await site.whitelist.put(stored_card(), NAME, instead_of=stored_card()) is Put.STALE
    assert await stored(site) == []


LONG = stored_card(
    contract_id="c" * 64,
    issuer="i" * 256,
    visual_number="v" * 256,
    group_id="g" * 64,
    language="a language",
    default_profile_type="p" * 256,
    energy_contract=EnergyContract("s" * 256, "x" * 256),
)
"""As a peer's list may bring it: we read leniently."""

ODD = stored_card(" 04A1B2C3", country_code="1\u00e9", party_id="!", contract_id="\u0007", issuer="", group_id="\n")
"""As no reading lets it in any more."""


@pytest.mark.parametrize("token", [LONG, ODD])
async def test_stored_token_is_given_back_exactly_whatever_the_limits_are_now(site: Site, token: Token) -> None:
    await site.whitelist.put(token, NAME)
    key = TokenKey(token.country_code, token.party_id, token.uid, WireType.RFID)
    assert await TokenPush(site.whitelist).get(caller(pushes_for_others=True), key) == token


async def test_answer_holds_a_stored_token_beyond_the_limits_as_it_is(site: Site, peer: httpx.AsyncClient) -> None:
    await site.whitelist.put(LONG, NAME)
    data = (await peer.get(URL)).json()["data"]
    texts = {name: getattr(LONG, name) for name in ("contract_id", "issuer", "visual_number", "group_id", "language")}
    assert {name: data[name] for name in texts} == texts
    assert data["energy_contract"] == {"supplier_name": "s" * 256, "contract_id": "x" * 256}


@pytest.mark.parametrize("token", [LONG, ODD])
async def test_token_beyond_the_limits_can_be_blocked_by_a_patch(site: Site, token: Token) -> None:
    await site.whitelist.put(token, NAME)
    key = TokenKey(token.country_code, token.party_id, token.uid, WireType.RFID)
    changes = raw(valid=False, last_updated=LATER)
    assert await TokenPush(site.whitelist).patch(caller(pushes_for_others=True), key, changes) is Stored.UPDATED
    assert await stored(site) == [
        ListedToken(dataclasses.replace(token, valid=False, last_updated=NOON + timedelta(hours=1)), NAME)
    ]


async def test_pushed_token_is_as_fresh_as_its_peers_last_sync(site: Site, peer: httpx.AsyncClient) -> None:
    await peer.put(URL, json=card())
    found = await site.whitelist.get("DE", "ABC", "04A1B2C3", TokenType.RFID)
    assert found is not None
    assert found.synced_at is None
    assert found.token.last_updated == NOON


@pytest.mark.parametrize("path", ["/2.2.1/tokens", "/2.2.1/tokens/DE", "/2.2.1/tokens/DE/ABC", "/2.2.1/tokens/DE//04"])
async def test_path_that_names_no_token_is_404(peer: httpx.AsyncClient, path: str) -> None:
    assert codes(await peer.get(path)) == (404, 2000)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_tokens_can_be_neither_posted_nor_deleted(peer: httpx.AsyncClient, method: str) -> None:
    answer = await peer.request(method, URL, json=card())
    assert codes(answer) == (405, 2000)
    assert {"GET", "PUT", "PATCH"} <= set(answer.headers["allow"].split(", "))
