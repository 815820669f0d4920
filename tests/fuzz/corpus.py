"""The parts that requests of raw bytes are made of: each is wrong, or at an edge, in a way of its own."""

import gzip
import json
from collections.abc import Callable

from tests.fuzz.callers import OWNER

TOKENS = b"/ocpi/2.2.1/tokens/" + "/".join(OWNER).encode()
LISTS = (b"/ocpi/2.2.1/sessions", b"/ocpi/2.2.1/cdrs")
METHODS = (b"GET", b"PUT", b"PATCH", b"POST")
"""Without DELETE, which would end the relation that the others need."""

ODD_METHODS = (
    *(b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"PROPFIND", b"X" * 300, b"G\xc3\xa9T", b"G\x00T", b"(", b""),
    *(b"GET GET", b"M-SEARCH", b"PRI"),
)
_QUERIES = (
    *(b"", b"?", b"&&=&a", b"limit=3", b"offset=248&limit=2", b"limit=1&limit=%32", b"offset=+1", b"offset=%2B1"),
    *(b"limit=0", b"limit=-1", b"limit=1e9", b"limit=" + b"9" * 15, b"limit=" + b"9" * 5000, b"limit=%C2%B2"),
    *(b"offset=" + b"9" * 15, b"offset=9223372036854775808", b"offset=0x1", b"offset=%00", b"offset=1;limit=2"),
    *(b"date_from=" + moment for moment in (b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59.9Z", b"NaN", b"1e400")),
    *(b"date_to=" + moment for moment in (b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59.9Z", b"-1", b"1e11")),
    *(b"date_from=2026-03-01T12:00:00Z%0d%0aX-Injected:+y&limit=1", b"date_to=2030-01-01T00:00:00Z>;rel=x&limit=1"),
    *(b"date_from=2026-03-01T12:00:00." + b"0" * 9000 + b"Z&limit=1", b"date_from=\xff&date_to=%ff", b"a" * 9000),
)
TARGETS = (
    *(
        b"/",
        b"*",
        b"",
        b"//",
        b"/ocpi",
        b"/ocpi/",
        b"/ocpi//versions",
        b"/ocpi/versions/../versions",
        b"/OCPI/VERSIONS",
    ),
    *(b"http://127.0.0.1/ocpi/versions", b"HTTPS://x:99999/ocpi/versions?a", b"http://", b"ftp://x/", b"x:443", b"x"),
    *(b"/ocpi/%76ersions", b"/ocpi%2Fversions", b"/ocpi/versions%00", b"/ocpi/versions%", b"/ocpi/versions%zz"),
    *(b"/ocpi/versions?", b"/ocpi/versions#a", b"/ocpi/versions?type=%ff&&=&a", b"/ocpi/\xc3\xa9", b"/ocpi/\x7f"),
    *(TOKENS + rest for rest in (b"", b"/", b"/..", b"/../../versions", b"//", b"/%2F", b"/a%2Fb", b"/%2e%2e/x")),
    *(TOKENS + rest for rest in (b"/%00", b"/%ff%fe", b"/%C0%AF", b"/a/b", b"/x?type=", b"/x?type=RFID&type=OTHER")),
    *(TOKENS + rest for rest in (b"/x?type=%00", b"/x?type=" + b"R" * 5000, b"/%ED%A0%80", b"/;x", b"/+", b"/%25")),
    *(b"/" + b"a" * 8000, b"/ocpi/" + b"%2F" * 20_000, b"/" * 30_000, TOKENS + b"/" + b"a" * 60_000),
    *(b"/ocpi/2.2.1/tokens", b"/ocpi/2.2.1/tokens/DE", b"/ocpi/2.2.1/tokens//ABC/x", b"/ocpi/2.2.1/tokens/D%2FE/A/x"),
    *(one + b"?" + query for one in LISTS for query in _QUERIES),
    *(LISTS[0] + rest for rest in (b"/", b"//?limit=1", b"/x", b"/%2e%2e/cdrs", b"/x/charging_preferences", b"%00")),
)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"HTTP/1.1 x", b"HTTP/", b"")
HEADERS = (
    *(b"X-Request-ID: \xff\xfe", b"X-Request-ID: " + b"x" * 3000, b"X-Correlation-ID: a\tb", b"X-Request-ID:"),
    *(b"OCPI-from-party-id: \x80\x81", b"OCPI-from-country-code: DE\x0bX", b"OCPI-to-party-id: " + b"z" * 9000),
    *(
        b"Bad Name: x",
        b"NoColon",
        b": empty",
        b" folded: x",
        b"A: b\r\n c",
        b"A: \x00",
        b"A\x00: b",
        b"A:\rb",
        b"A: b\n",
    ),
    *(b"Host: a\r\nHost: b", b"Expect: 100-continue", b"Expect: nonsense", b"Upgrade: h2c", b"Connection: upgrade, x"),
    *(
        b"Content-Type: text/xml",
        b"Content-Encoding: br",
        b"Accept: nothing",
        b"Cookie: " + b"c" * 4000,
        b"TE: trailers",
    ),
    *(b"Authorization: Token x", b"Authorization: \xff", b"X: " + b"h" * 100_000, b"Range: bytes=0-", b"Trailer: x"),
    *(b"\r\n".join(b"H%d: x" % n for n in range(900)), b"Transfer-Encoding: identity", b"Content-Length: 0"),
)
FRAMES: tuple[Callable[[bytes], tuple[bytes, bytes]], ...] = (
    lambda body: (b"Content-Length: %d" % (len(body) + 7), body),
    lambda body: (b"Content-Length: %d" % max(0, len(body) - 3), body),
    lambda body: (b"Content-Length: -1", body),
    lambda body: (b"Content-Length: +%d" % len(body), body),
    lambda body: (b"Content-Length: 0x10", body),
    lambda body: (b"Content-Length: " + b"9" * 25, body),
    lambda body: (b"Content-Length: \xb2", body),
    lambda body: (b"Content-Length: 1\r\nContent-Length: 2", body),
    lambda body: (b"Content-Length: %d, %d" % (len(body), len(body)), body),
    lambda body: (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + body),
    lambda body: (b"Transfer-Encoding: chunked", body),
    lambda body: (b"Transfer-Encoding: chunked", b"zz\r\n" + body),
    lambda body: (b"Transfer-Encoding: chunked", b"-5\r\n" + body + b"\r\n0\r\n\r\n"),
    lambda body: (b"Transfer-Encoding: chunked", b"fffffffffffffffff\r\n" + body),
    lambda body: (b"Transfer-Encoding: chunked", b"%x;a=b\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (len(body), body)),
    lambda body: (b"Transfer-Encoding: chunked", b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n"),
    lambda body: (b"Transfer-Encoding: chunked", b"%x\r\n%bX\r\n0\r\n\r\n" % (len(body), body)),
    lambda body: (b"Transfer-Encoding: gzip, chunked", body),
    lambda body: (b"Transfer-Encoding: nonsense", body),
    lambda body: (b"Content-Encoding: gzip\r\nContent-Length: %d" % len(gzip.compress(body)), gzip.compress(body)),
)


def token_object(**changes: object) -> bytes:
    """A Token of `OWNER` as JSON."""
    token = {"country_code": "DE", "party_id": "ABC", "uid": "x", "type": "RFID", "contract_id": "C", "issuer": "I"}
    others = {"valid": True, "whitelist": "ALWAYS", "last_updated": "2026-03-01T12:00:00Z"}
    return json.dumps(token | others | changes).encode()


GOOD = token_object()
BODIES = (
    *(
        b"",
        b"null",
        b"true",
        b"7",
        b'""',
        b"[]",
        b"{}",
        b"{",
        b"}",
        b"nonsense",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf" + GOOD,
    ),
    *(GOOD.decode().encode(code) for code in ("utf-16", "utf-32", "utf-7", "cp037")),
    *(GOOD[:-1], GOOD + b"x", GOOD + GOOD, GOOD.replace(b"true", b"True"), GOOD.replace(b":", b"=")),
    *(
        GOOD.replace(b'"I"', new)
        for new in (b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"\xff"')
    ),
    *(GOOD.replace(b'"I"', new) for new in (b"NaN", b"Infinity", b"-0", b"1e400", b"1E-400", b"1" * 5000, b"'I'")),
    *(b'{"extra":%b,%b' % (new, GOOD[1:]) for new in (b"1e400", b"-1e999", b"1" * 5000, b"NaN", b"[" * 40 + b"]" * 40)),
    *(
        b'{"last_updated":%b}' % new
        for new in (b"1e400", b"0", b"-1", b"1" * 400, b"null", b'""', b'"9999-12-31T23:59:59-14:00"')
    ),
    *(
        b'{"last_updated":"2030-01-01T00:00:00Z",%b}' % new
        for new in (b'"valid":1e400', b'"valid":"true"', b'"issuer":1')
    ),
    *(b'{"last_updated":"2030-01-01T00:00:00Z",%b}' % new for new in (b'"uid":null', b'"energy_contract":[]', b'"":0')),
    *(
        b'{"valid":true,' * 2 + GOOD[1:],
        b'{"uid":"y",' + GOOD[1:],
        b'{"a":' * 5000,
        b"[" * 60_000,
        b"[" * 33 + b'"' + b'\\"' * 30_000,
        b'{"a":' * 31 + b"0" + b"}" * 31,
    ),
    *(
        token_object(uid="x" * 64),
        token_object(contract_id="\x00"),
        token_object(issuer="\U0001f600" * 64),
        token_object(party_id="\u00df"),
    ),
    *(
        token_object(last_updated=t)
        for t in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-03-01", "2026-02-30T00:00:00Z")
    ),
    *(
        token_object(visual_number="\\" * 64),
        token_object(energy_contract={"supplier_name": None}),
        token_object(default_profile_type="q" * 300),
    ),
    *(
        b" " * 65_000 + GOOD,
        token_object(extra="x" * 70_000),
        b'"' + b"\\" * 60_000,
        b'{"a":"' + b"x" * 2_000_000 + b'"}',
    ),
    *(
        b'{"token":"t","url":%b,"roles":[{"role":"EMSP","party_id":"QQQ","country_code":"DE"}]}' % url
        for url in (
            b'"http://127.0.0.1:1/"',
            b'"https://\\u0000/"',
            b'"https://[::1/"',
            b'"https://x:99999/"',
            b'"//x"',
            b'"https://\xff/"',
            b'"https://user:password@127.0.0.1:1/"',
            b'"https://127.0.0.1:1/\\r\\nX: y"',
            b'"https://xn--a/"',
            b'"https://%00/"',
        )
    ),
)
