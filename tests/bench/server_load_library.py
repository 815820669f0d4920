"""A FastAPI-based OCPI server under the same load: a program for an interpreter that has such a library installed.

Takes `extrawest_ocpi` or `py-ocpi`, both published, where one is there, and else plain FastAPI with pydantic. None
of them brings a store: each is given the cheapest one that keeps our promise, plain `sqlite3` in the event loop with a
durable commit. It imports nothing of ours but the load's names, and speaks as `server_load_server` does.
"""

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.server_load_generator import CREDENTIALS_TOKEN, listening

_MADE_OF = ("extrawest_ocpi", "py-ocpi", "fastapi", "pydantic", "starlette", "uvicorn")


class Store:
    """Tokens in SQLite as one JSON text each, committed durably: what the libraries call `crud`."""

    def __init__(self, path: Path) -> None:
        """Make the file."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS token (uid TEXT PRIMARY KEY, body TEXT)")

    async def get(self, _module: object, _role: object, uid: str, *_: object, **__: object) -> Any:
        """The token, or None."""
        row = self._connection.execute("SELECT body FROM token WHERE uid = ?", (str(uid).upper(),)).fetchone()
        return row and json.loads(row[0])

    async def create(self, _module: object, _role: object, data: dict[str, Any], *_: object, **__: object) -> Any:
        """Keep it; on the disk when this returns."""
        row = (str(data["uid"]).upper(), json.dumps(data, default=str))
        self._connection.execute("INSERT OR REPLACE INTO token VALUES (?, ?)", row)
        return data

    update = create


class Shape:
    """From what is stored to the library's own Token: what py-ocpi calls an adapter and does not bring."""

    @staticmethod
    def token_adapter(data: dict[str, Any], *_: object) -> Any:
        """The library's Token."""
        return import_module("py_ocpi.modules.tokens.v_2_2_1.schemas").Token(**data)


def _library_app(store: Store) -> tuple[Any, str]:
    """Both published libraries are a package `py_ocpi`; the younger one wants to know more."""
    main, enums = import_module("py_ocpi.main"), import_module("py_ocpi.core.enums")
    given: dict[str, Any] = {
        "version_numbers": [import_module("py_ocpi.modules.versions.enums").VersionNumber.v_2_2_1],
        "roles": [enums.RoleEnum.cpo],
        "crud": store,
    }
    wanted = inspect.signature(main.get_application).parameters
    if "authenticator" in wanted:
        given |= {"modules": [enums.ModuleID.tokens], "authenticator": _authenticator()}
    else:
        given |= {"adapter": Shape}
    return main.get_application(**given), "/ocpi/cpo/2.2.1/tokens"


def _authenticator() -> Any:
    async def known(_of: type) -> list[str]:
        return [CREDENTIALS_TOKEN]

    above = import_module("py_ocpi.core.authentication.authenticator").Authenticator
    return type("Known", (above,), {"get_valid_token_c": classmethod(known), "get_valid_token_a": classmethod(known)})


def _plain_app(store: Store) -> tuple[Any, str]:
    """What one writes first with FastAPI: a model, a route, a check of the header."""
    fastapi, pydantic = import_module("fastapi"), import_module("pydantic")
    required = dict.fromkeys(("country_code", "party_id", "uid", "type", "contract_id", "issuer", "whitelist"), str)
    optional = dict.fromkeys(("visual_number", "group_id", "language"), str | None)
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in {**required, "valid": bool}.items()}
    fields |= {name: (kind, None) for name, kind in optional.items()} | {"last_updated": (datetime, ...)}
    token_model = pydantic.create_model("Token", **fields)
    app = fastapi.FastAPI()

    async def put(country_code: str, party_id: str, uid: str, token: Any, request: Any) -> dict[str, Any]:
        if not request.headers.get("authorization", "").startswith("Token "):
            raise fastapi.HTTPException(401)
        if (country_code, party_id, uid) != (token.country_code, token.party_id, token.uid):
            return {"status_code": 2001}
        await store.create(None, None, token.model_dump())
        return {"status_code": 1000, "timestamp": datetime.now().astimezone().isoformat()}

    put.__annotations__ |= {"token": token_model, "request": fastapi.Request}
    app.put("/ocpi/2.2.1/tokens/{country_code}/{party_id}/{uid}")(put)
    return app, "/ocpi/2.2.1/tokens"


def _made_of() -> str:
    found: list[str] = []
    for name in _MADE_OF:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


async def _serve(folder: Path) -> None:
    uvicorn: Any = import_module("uvicorn")
    build: Callable[[Store], tuple[Any, str]] = _library_app if find_spec("py_ocpi") else _plain_app
    app, path = build(Store(folder / "library.db"))
    logging.disable(logging.CRITICAL)  # they log each request; the load would wait for a terminal
    config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", access_log=False, log_config=None)
    server = uvicorn.Server(config)
    listener = listening()
    running = asyncio.create_task(server.serve(sockets=[listener]))
    port = listener.getsockname()[1]
    print(json.dumps({"port": port, "path": path, "answer": '"status_code":1000', "version": _made_of()}), flush=True)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    server.should_exit = True
    await running


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.server_load_library")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_serve(folder))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
