"""The receiver of the credentials module: a client registers, renews its credentials, or leaves.

OCPI 2.2.1 credentials. What is asked of the request itself, the right method included, is in `strictness`.
"""

from collections.abc import Callable
from typing import Any

from fakes.emsp.calls import Calls
from fakes.emsp.device import Device, Dies
from fakes.emsp.discovery import ExchangeFailedError, Found, discover
from fakes.emsp.messages import Later, Reply, Request, written
from fakes.emsp.relation import Standing


class CredentialsReceiver:
    """Answers requests for credentials that have been found in order."""

    def __init__(
        self, device: Device, calls: Calls, complain: Callable[[str], None], received: Callable[[dict[str, Any]], None]
    ) -> None:
        """`received` gets every credentials object that comes in."""
        self._device = device
        self._calls = calls
        self._complain = complain
        self._received = received

    def answer(self, request: Request) -> Reply | Later:
        """The answer."""
        match request.method:
            case "GET":
                return self._own(request)
            case "DELETE":
                return self._leave
            case _:
                return lambda: self._exchange(request)

    def _own(self, request: Request) -> Reply:
        caller = self._device.caller(request.headers["authorization"])
        return self._credentials(200, caller[0] if caller else "")

    async def _exchange(self, request: Request) -> Reply | None:
        device, credentials = self._device, request.json()
        self._received(credentials)
        if device.falls(Dies.BEFORE_CALL_BACK):
            return None
        try:
            found = await self._call_back(credentials)
        except ExchangeFailedError as failed:
            return Reply(status_code=failed.status_code, message=str(failed))
        if device.falls(Dies.BEFORE_STORING):
            return None
        caller = device.caller(request.headers["authorization"])
        registering = request.method == "POST"
        if caller is None or (caller[1] is Standing.INVITED) != registering:
            # Another exchange was faster while this one called back.
            return Reply(405, status_code=2000, message="Method not allowed", headers=(("Allow", "GET"),))
        ours = device.make_token()
        self._store(credentials, found, ours, keep_previous=device.lenient_rotation and not registering)
        if device.falls(Dies.AFTER_STORING):
            return None
        return self._credentials(201 if registering else 200, ours)

    async def _call_back(self, credentials: dict[str, Any]) -> Found:
        device = self._device
        if device.call_back_fails:
            raise ExchangeFailedError("versions: the client can't be reached")
        try:
            return await discover(self._calls, credentials["url"], credentials["token"], device.expects)
        except ExchangeFailedError as failed:
            self._complain(f"call-back: {failed}")
            raise

    def _store(self, credentials: dict[str, Any], found: Found, ours: str, *, keep_previous: bool) -> None:
        relation = self._device.relation
        relation.settle(found.versions_url, found.details_url, found.endpoints, credentials["roles"])
        relation.agree(ours, credentials["token"], keep_previous=keep_previous)

    async def _leave(self) -> Reply | None:
        if self._device.falls(Dies.BEFORE_CALL_BACK) or self._device.falls(Dies.BEFORE_STORING):
            return None
        self._device.relation.end()
        return None if self._device.falls(Dies.AFTER_STORING) else Reply()

    def _credentials(self, http_status: int, token: str) -> Reply:
        spoilt = self._device.credentials_answer
        return Reply(http_status, data=written(self._device.credentials(token)) if spoilt is None else spoilt)
