"""ElastiCache endpoints: 127.0.0.1 and a port of its own per node group, never a container.

Upstream starts a container per node group, or answers a shared "redis:6379"
when it has no Docker. The local runtime runs Redis where the endpoint says.
"""

import socket

from ministack.services import elasticache

from .piece import Piece

_HOST = "127.0.0.1"


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _next_port() -> int:
    """The next port that nothing listens on, from ELASTICACHE_BASE_PORT upwards."""
    while True:
        port = elasticache._port_counter[0]
        elasticache._port_counter[0] += 1
        if _free(port):
            return port


def _mend() -> None:
    def spawn(*_args, **_kwargs):
        return _HOST, _next_port(), None

    elasticache._spawn_redis_container = spawn
    elasticache._get_docker = lambda: None


def _missing() -> bool:
    docker = elasticache._get_docker
    elasticache._get_docker = lambda: None  # the probe must not start a container
    try:
        host, _port, _container = elasticache._spawn_redis_container("probe", "redis", "7.1", {})
    finally:
        elasticache._get_docker = docker
    return host != _HOST


PIECES = (Piece("ElastiCache endpoints are no addresses without Docker", _missing, _mend),)
