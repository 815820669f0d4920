"""What a peer may push, what comes of it, and that GET returns what was stored: OCPI 2.2.1 mod_tokens."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.model import ListedToken, TokenType, Uid
from agent.store.whitelist import Whitelist
from tests.ocpi_server.site import NAME, NOON, Site, card, client_of, site_in, stored_card

URL = "/2.2.1/tokens/DE/ABC/04A1B2C3"
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
