"""The document says what the server does."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.ocpi.server.openapi import document, rendered
from tests.ocpi_server.kept_charges import KeptCharges
from tests.ocpi_server.site import client_of, site_in

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Of a charge point that bills."""
    async with (
        site_in(tmp_path, reports=KeptCharges(), serve=False) as site,
        client_of(site, await site.agreed()) as client,
    ):
        yield client


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        here = {part["$ref"]} if "$ref" in part else set()
        return here.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def test_document_in_the_repository_is_current() -> None:
    assert (REPOSITORY / "docs/openapi.json").read_text(encoding="utf-8") == rendered()


def test_every_reference_leads_somewhere() -> None:
    components = document()["components"]
    there = {f"#/components/{kind}/{name}" for kind in ("headers", "schemas") for name in components[kind]}
    assert references(document()) == there


@pytest.mark.parametrize("path", list(document()["paths"]))
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_methods_of_the_document_are_those_of_the_server(peer: httpx.AsyncClient, path: str, method: str) -> None:
    offered = method in document()["paths"][path]
    answer = await peer.request(method, re.sub(r"\{\w+\}", "DE", path), content=b"{}")
    allowed = answer.headers.get("allow", "").lower().split(", ")
    assert offered == (answer.status_code != 405 or method in allowed)
