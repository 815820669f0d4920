"""What the device answers on each of its paths when nothing is wrong: OCPI's words, no HTTP and no weather."""

from collections.abc import Callable
from uuid import uuid4

from fakes.emsp.cards import Cards, Reference
from fakes.emsp.credentials_receiver import CredentialsReceiver
from fakes.emsp.device import VERSION, Device, Slash
from fakes.emsp.lists import TokenList
from fakes.emsp.messages import Later, Part, Reply, Request, written
from fakes.emsp.reports import Reports

Answerer = Callable[[Request], Reply | Later]


class Interfaces:
    """Versions, version details, credentials, the token list, real-time authorization, and what is reported."""

    def __init__(
        self,
        device: Device,
        cards: Cards,
        tokens: TokenList,
        credentials: CredentialsReceiver,
        reports: Reports,
        complain: Callable[[str], None],
        give: Callable[[str, str], None],
    ) -> None:
        """`give` gets the uid and the authorization reference of every answer that carries one."""
        self._device = device
        self._cards = cards
        self._list = tokens
        self._credentials = credentials
        self._reports = reports
        self._complain = complain
        self._give = give

    def route(self, request: Request) -> tuple[Part | None, Answerer]:
        """What the request is for, and who answers it once it has been found in order."""
        part, wanted, answerer = self._interface(self._unslashed(request.path))
        if part is None:
            self._complain(f"{request.method} of a path that the device never named")
        elif request.method != wanted and request.method not in wanted.split(", "):
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
            return Part.CREDENTIALS, "GET, POST, PUT, DELETE", self._credentials.answer
        if path.removeprefix(f"{root}/") in self._device.versions:
            return Part.VERSIONS, "GET", self._details
        return self._report_interface(path) if self._device.reports else (None, "", _nothing_there)

    def _report_interface(self, path: str) -> tuple[Part | None, str, Answerer]:
        sessions, cdrs = self._device.sessions_path, self._device.cdrs_path
        if path.startswith(sessions + "/") and path.count("/") == sessions.count("/") + 3:
            return Part.SESSIONS, "GET, PUT, PATCH", self._reports.session_receiver.answer
        if path in {cdrs, cdrs + "/"}:
            return Part.CDRS, "POST", self._reports.cdr_receiver.answer
        if path.startswith(cdrs + "/") and path.count("/") == cdrs.count("/") + 1:
            return Part.CDRS, "GET", self._reports.cdr_receiver.answer
        return None, "", _nothing_there

    def _unslashed(self, path: str) -> str:
        """The path without the slash that the device wants at its end; nothing for a path that lacks it."""
        slash = self._device.slash
        if slash is Slash.NONE:
            return path
        if slash is Slash.LISTED and (path.endswith("/authorize") or path.startswith(self._device.sessions_path + "/")):
            return path  # what OCPI appends to an address that ends with a slash ends without
        return path[:-1] if path.endswith("/") else ""

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
        device, version = self._device, request.path.removesuffix("/").rpartition("/")[2]
        own = {"credentials": device.credentials_url(version)}
        if version == VERSION:
            own["tokens"] = device.tokens_url
        received = {"sessions": device.sessions_url, "cdrs": device.cdrs_url}
        if version != VERSION or not device.reports:
            received = {}
        named = [
            {"identifier": identifier, "role": role, "url": url}
            for role, urls in (("SENDER", own), ("RECEIVER", received))
            for identifier, url in urls.items()
            if identifier not in device.withheld_endpoints
        ]
        return Reply(data=written({"version": version, "endpoints": [*device.extra_endpoints, *named]}))


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
