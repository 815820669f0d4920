"""A client that is closed while it waits, as when new tokens were agreed: what is under way is over."""

import asyncio

from agent.model import Outcome
from agent.ocpi.failures import Failure
from fakes.emsp import FakeEmsp, Kind, Part
from tests.ocpi.conftest import HERE, UID, ClientMaker


async def test_request_under_way_when_the_client_is_closed_is_not_sent_again(
    emsp: FakeEmsp, make_client: ClientMaker
) -> None:
    client = make_client()
    emsp.card(UID)
    await client.authorize(UID, HERE, correlation_id="first")  # its connection is kept
    emsp.set_weather(Kind.SILENT)
    asking = asyncio.create_task(client.authorize(UID, HERE, correlation_id="second"))
    async with asyncio.timeout(30.0):
        await emsp.arrived(2, Part.AUTHORIZE)
        await client.aclose()
        reply = await asking
    assert isinstance(reply, Failure)
    assert reply.outcome is Outcome.UNREACHABLE
    assert sum(request.part is Part.AUTHORIZE for request in emsp.requests) == 2
