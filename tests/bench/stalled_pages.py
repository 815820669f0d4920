"""`python -m tests.bench.stalled_pages PORT COUNT`: so many pages that are open and read nothing, until killed.

One that the agent cuts off is opened again, as a browser would.
"""

import select
import socket
import sys


def page(port: int) -> socket.socket:
    """A connection that has asked for the events."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a stalled browser's is soon full as well
    line.connect(("127.0.0.1", port))
    line.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return line


def main(port: int, count: int) -> None:
    """Open them, say so, and keep them open."""
    watch, pages = select.poll(), {}
    for _ in range(count):
        line = page(port)
        pages[line.fileno()] = line
        watch.register(line, select.POLLRDHUP)
    print("open", flush=True)
    while True:
        for descriptor, _ in watch.poll():
            watch.unregister(descriptor)
            pages.pop(descriptor).close()
            line = page(port)
            pages[line.fileno()] = line
            watch.register(line, select.POLLRDHUP)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
