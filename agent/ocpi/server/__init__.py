"""Our OCPI 2.2.1 interfaces for the peers: an ASGI application over ports. What a request means is `runtime`'s."""
