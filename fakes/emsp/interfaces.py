"""What the device answers on each of its paths when nothing is wrong: OCPI's words, no HTTP and no weather."""

from collections.abc import Callable
from uuid import uuid4

from fakes.emsp.cards import Cards, Reference
from fakes.emsp.device import VERSION, Device
from fakes.emsp.lists import TokenList
from fakes.emsp.messages import Part, Reply, Request, written

Answerer = Callable[[Request], Reply]


class Interfaces:
    """Versions, version details, credentials, the token list and real-time authorization."""

    def __init__(
        self,
        device: Device,
        cards: Cards,
        tokens: TokenList,
        complain: Callable[[str], None],
        give: Callable[[str, str], None],
    ) -> None:
        """`give` gets the uid and the authorization reference of every answer that carries one."""
        self._device = device
        self._cards = cards
        self._list = tokens
        self._complain = complain
        self._give = give

    def route(self, request: Request) -> tuple[Part | None, Answerer]:
        """What the request is for, and who answers it once it has been found in order."""
        part, wanted, answerer = self._interface(request.path)
        if part is None:
            self._complain(f"{request.method} of a path that the device never named")
        elif request.method != wanted:
            self._complain(f"{request.method} {part}: this interface has only {wanted}")
            refusal = Reply(405, status_code=2000, message="Method not allowed", headers=(("Allow", wanted),))
            return None, lambda _: refusal
        return part, answerer

    def _interface(self, path: str) -> tuple[Part | None, str, Answerer]:
        root, tokens = self._device.root, self._device.tokens_path
        if path.startswith(tokens + "/") and path.endswith("/authorize") and path.count("/") == tokens.count("/") + 2:
            return Part.AUTHORIZE, "POST", self._authorize
        if path in {tokens, tokens + "/"}:
            return Part.LIST, "GET", self._tokens
        if path == f"{root}/versions":
            return Part.VERSIONS, "GET", self._versions
        if path == f"{root}/emsp/{VERSION}/credentials":
            return Part.VERSIONS, "GET", self._credentials
        if path.removeprefix(f"{root}/") in self._device.versions:
            return Part.VERSIONS, "GET", self._details
        return None, "", _nothing_there

    def _authorize(self, request: Request) -> Reply:
        uid = request.uid
        found = self._cards.find(uid, request.query.get("type", "RFID"))
        if found is None:
            return Reply(404, status_code=2004, message="Unknown Token")
        location = request.json() if request.body else None
        if isinstance(found, bytes):
            return Reply(data=_information("ALLOWED", found, location, self._reference(uid, _fresh()), None))
        if found.allowed != "ALLOWED" or not found.location:
            location = None
        elif location is not None and found.evse_uids is not None:
            location["evse_uids"] = found.evse_uids
        match found.reference:
            case Reference.FRESH:
                reference = _fresh() if found.allowed == "ALLOWED" else None
            case reference:
                pass
        return Reply(
            data=_information(found.allowed, found.token_json, location, self._reference(uid, reference), found.info)
        )

    def _reference(self, uid: str, reference: str | None) -> str | None:
        if reference is not None:
            self._give(uid, reference)
        return reference

    def _tokens(self, request: Request) -> Reply:
        return self._list.page(request, self._device.tokens_url)

    def _versions(self, _request: Request) -> Reply:
        listed = [{"version": version, "url": self._device.details_url(version)} for version in self._device.versions]
        return Reply(data=written(listed))

    def _details(self, request: Request) -> Reply:
        version = request.path.rpartition("/")[2]
        credentials = f"{self._device.base_url}/ocpi/emsp/{version}/credentials"
        endpoints = [*self._device.extra_endpoints, {"identifier": "credentials", "role": "SENDER", "url": credentials}]
        if version == VERSION:
            endpoints.append({"identifier": "tokens", "role": "SENDER", "url": self._device.tokens_url})
        return Reply(data=written({"version": version, "endpoints": endpoints}))

    def _credentials(self, _request: Request) -> Reply:
        device = self._device
        role = {
            "role": "HUB" if device.hub else "EMSP",
            "business_details": {"name": "Fake eMSP"},
            "party_id": device.party_id,
            "country_code": device.country_code,
        }
        return Reply(data=written({"token": device.credentials_token, "url": device.versions_url, "roles": [role]}))


def _nothing_there(_request: Request) -> Reply:
    return Reply(404, status_code=2000, message="No such path")


def _fresh() -> str:
    return str(uuid4())


def _information(
    allowed: str,
    token: bytes,
    location: dict[str, object] | None,
    reference: str | None,
    info: tuple[str, str] | None,
) -> bytes:
    """An AuthorizationInfo (OCPI 2.2.1 mod_tokens)."""
    parts = [b'{"allowed":"%b","token":%b' % (allowed.encode(), token)]
    if location is not None:
        parts.append(b',"location":' + written(location))
    if reference is not None:
        parts.append(b',"authorization_reference":' + written(reference))
    if info is not None:
        parts.append(b',"info":' + written({"language": info[0], "text": info[1]}))
    return b"".join(parts) + b"}"
