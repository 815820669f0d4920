"""The sender of the credentials module: the device registers with a client, rotates the tokens, or leaves.

OCPI 2.2.1 credentials. A token that it sends is stored before it is sent, everything else once the exchange is whole.
"""

from collections.abc import Callable
from typing import Any

from fakes.emsp.calls import Calls, Response
from fakes.emsp.device import Device, Dies
from fakes.emsp.discovery import ExchangeFailedError, Found, discover
from fakes.emsp.registration_rules import credentials_faults


class DiedError(Exception):
    """The device died in the middle of an exchange that it had begun, as it was told to."""


class CredentialsSender:
    """Begins exchanges. Each raises ExchangeFailedError for a refusal, NoAnswer for silence, DiedError when told to.

    After a refusal the relation is what it was. After silence or a death the token that was sent stays pending: the
    other side may have it, or not.
    """

    def __init__(
        self, device: Device, calls: Calls, complain: Callable[[str], None], received: Callable[[dict[str, Any]], None]
    ) -> None:
        """`received` gets every credentials object that comes in."""
        self._device = device
        self._calls = calls
        self._complain = complain
        self._received = received

    async def register(self, versions_url: str, token_a: str) -> Response:
        """Register with whoever has handed out `token_a`; returns the answer to the POST."""
        found = await discover(self._calls, versions_url, token_a, self._device.expects)
        return await self._exchange("POST", found, token_a)

    async def rotate(self) -> Response:
        """Renew both tokens; returns the answer to the PUT."""
        relation = self._device.relation
        found = await discover(self._calls, relation.versions_url, relation.their_token, self._device.expects)
        return await self._exchange("PUT", found, relation.their_token)

    async def unregister(self) -> Response:
        """End the relation; returns the answer to the DELETE."""
        self._fall(Dies.BEFORE_CALL_BACK)
        response = await self._calls.call("DELETE", self._device.relation.endpoint("credentials"), routing=False)
        if not response.succeeded:
            raise ExchangeFailedError(f"DELETE credentials: {response}", response=response)
        self._fall(Dies.BEFORE_STORING)
        self._device.relation.end()
        self._fall(Dies.AFTER_STORING)
        return response

    async def _exchange(self, method: str, found: Found, token: str) -> Response:
        device, relation = self._device, self._device.relation
        ours = device.make_token()
        relation.pending_token, relation.pending_registration = ours, method == "POST"
        self._fall(Dies.BEFORE_CALL_BACK)
        response = await self._calls.call(
            method, found.credentials_url, token=token, json=device.credentials(ours), routing=False
        )
        self._fall(Dies.BEFORE_STORING)
        try:
            credentials = self._read(method, response)
        except ExchangeFailedError:
            relation.pending_token = ""
            raise
        relation.settle(credentials["url"], found.details_url, found.endpoints, credentials["roles"])
        relation.agree(ours, credentials["token"], keep_previous=device.lenient_rotation and method == "PUT")
        self._fall(Dies.AFTER_STORING)
        return response

    def _read(self, method: str, response: Response) -> dict[str, Any]:
        """The credentials of an answer. Raises ExchangeFailedError where there are none, or useless ones."""
        if not response.succeeded:
            raise ExchangeFailedError(f"{method} credentials: {response}", response=response)
        faults = [*credentials_faults(response.data)]
        for fault in faults:
            self._complain(f"answer to {method} credentials: {fault.text}")
        if useless := next((fault for fault in faults if fault.reply), None):
            raise ExchangeFailedError(f"{method} credentials: {useless.text}", response=response)
        credentials: dict[str, Any] = response.data
        self._received(credentials)
        return credentials

    def _fall(self, moment: Dies) -> None:
        if self._device.falls(moment):
            raise DiedError(f"at {moment.name}, as it was told to")
