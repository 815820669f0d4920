"""The world's side for a browser, as an ASGI application without a framework.

GET  /world/state                          -> {"wallet", "weather", "weathers", "evses", "power"}
POST /world/tap     {"evse", "uid"}        -> once it is decided: {"verdict", "reason", "source", "text"}
POST /world/plug    {"evse", "plugged"}
POST /world/weather {"weather"}
POST /world/power   {"on"}                 -> once it is so

All but `tap` answer as `state` does, `tap` with null in each when the power went meanwhile, and what can't be done is
{"error": why}. The panel mounts this under /world/,
and it is the panel that looks after the token, the origin and the headers of a browser: alone this would take orders
from every page that can reach it. It only sees to it that no page can send one without a preflight: the body is JSON
by its type, too.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from agent.errors import AgentError
from agent.ocpi.server.asgi import Receive, Scope, Send
from agent.runtime.charge_point import Settled
from fakes.world.bench import Bay
from fakes.world.errors import NoPowerError, UnknownThingError
from fakes.world.wallet import WALLET
from fakes.world.weathers import WEATHERS

_PREFIX = "/world"
_MOST_BYTES = 4096
_JSON = "application/json"

_T = TypeVar("_T")


class Playable(Protocol):
    """What the page moves: `World` says what each does."""

    @property
    def weather(self) -> str:
        """The peer's."""
        ...

    async def turn(self, weather: str) -> None:
        """Let it be this one."""
        ...

    @property
    def is_on(self) -> bool:
        """Whether there is power."""
        ...

    @property
    def bays(self) -> tuple[Bay, ...]:
        """The EVSEs from outside."""
        ...

    def plug(self, evse_uid: str, *, plugged: bool) -> None:
        """Plug in, or out."""
        ...

    async def tap(self, evse_uid: str, uid: str) -> Settled | None:
        """Hold a card to a reader."""
        ...

    async def switch_on(self) -> None:
        """Give it power."""
        ...

    async def pull_the_power(self) -> None:
        """Take it."""
        ...


class _RefusedError(Exception):
    """A request that is not carried out."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class WorldApi:
    """One request after the other moves the world."""

    def __init__(self, world: Playable) -> None:
        self._world = world
        self._orders: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[object]]] = {
            "/tap": self._tap,
            "/plug": self._plug,
            "/weather": self._change_weather,
            "/power": self._power,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            status, value = HTTPStatus.OK, await self._answer(scope, receive)
        except _RefusedError as error:
            status, value = HTTPStatus(error.status), {"error": str(error)}
        except UnknownThingError as error:
            status, value = HTTPStatus.NOT_FOUND, {"error": str(error)}
        except NoPowerError as error:
            status, value = HTTPStatus.CONFLICT, {"error": str(error)}
        except AgentError as error:
            status, value = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"the agent does not start: {error}"}
        body = json.dumps(value).encode()
        headers = [
            (b"content-type", _JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def state(self) -> dict[str, Any]:
        """How the world is now."""
        return {
            "wallet": [{"uid": card.uid, "label": card.label, "what": card.what} for card in WALLET],
            "weather": self._world.weather,
            "weathers": list(WEATHERS),
            "evses": [{"uid": bay.uid, "plugged": bay.plugged} for bay in self._world.bays],
            "power": self._world.is_on,
        }

    async def _answer(self, scope: Scope, receive: Receive) -> object:
        path, method = scope["path"].removeprefix(_PREFIX), scope["method"]
        if path == "/state":
            if method != "GET":
                raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "the state is there to GET")
            return self.state()
        order = self._orders.get(path)
        if order is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "nothing is here")
        if method != "POST":
            raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "POST it")
        return await order(await _body(scope, receive))

    async def _tap(self, given: Mapping[str, Any]) -> object:
        settled = await self._world.tap(_of(given, "evse", str), _of(given, "uid", str))
        if settled is None:
            return {"verdict": None, "reason": None, "source": None, "text": None}
        entry = settled.entry
        return {"verdict": entry.verdict, "reason": entry.reason, "source": entry.source, "text": entry.text}

    async def _plug(self, given: Mapping[str, Any]) -> object:
        self._world.plug(_of(given, "evse", str), plugged=_of(given, "plugged", bool))
        return self.state()

    async def _change_weather(self, given: Mapping[str, Any]) -> object:
        await self._world.turn(_of(given, "weather", str))
        return self.state()

    async def _power(self, given: Mapping[str, Any]) -> object:
        await (self._world.switch_on() if _of(given, "on", bool) else self._world.pull_the_power())
        return self.state()


def _of(given: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    value = given.get(key)
    if not isinstance(value, kind):
        words = {str: "a text", bool: "true or false"}
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f'"{key}" is missing or not {words[kind]}')
    return value


async def _body(scope: Scope, receive: Receive) -> Mapping[str, Any]:
    types = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    if not types or types[0].partition(b";")[0].strip().lower() != _JSON.encode():
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body has to be {_JSON}")
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the request has ended in its middle")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _MOST_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {_MOST_BYTES} bytes")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
    if not isinstance(given, dict):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body has to be an object")
    return given
