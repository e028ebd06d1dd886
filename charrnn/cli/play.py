"""`charrnn play RUN`: a page to write with trained models, and an HTTP endpoint that streams completions."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from charrnn.config.options import AtLeast0, Group, Options
from charrnn.distributed.machine import one_blas_thread
from charrnn.errors import ConfigError
from charrnn.play.runs import read_playable

LOG = logging.getLogger(__name__)

EXPOSURE = (
    "not only this machine can connect: whoever reaches port %d can write with these models, which may repeat what "
    "they were trained on, and keep the processor busy; there is no password, and no encryption"
)


class PlayOptions(Options):
    """Serve a page to write with trained models, and http://127.0.0.1:7860/complete for programs, until Ctrl-C.

    Example: charrnn play runs/my-run runs/another
    """

    runs: Annotated[tuple[Path, ...], Group.ARGUMENTS]
    """The folders of runs, or of models."""
    checkpoint: Literal["best", "last"] = "best"
    """Which checkpoint of each run to use."""
    host: str = "127.0.0.1"
    """The address to listen on; the default can be reached from this machine alone, 0.0.0.0 from any."""
    port: Annotated[AtLeast0, Field(le=65535)] = 7860
    """The port to listen on; 0 for a free one."""


def main(args: Sequence[str]) -> int:
    """Serves until it is interrupted."""
    options = PlayOptions.from_args(args, "charrnn play")
    models = {str(run): read_playable(run, options.checkpoint) for run in options.runs}
    if find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'gradio>=6.31,<7'")
    with listen(options.host, options.port) as listener:
        # Gradio takes seconds to import: everything that can be wrong has been said before.
        from charrnn.play.app import make_app
        from charrnn.play.server import end_the_stalled, make_server

        address, port = listener.getsockname()[:2]
        app = make_app(models, host_names(address, port))
        print(f"http://{f'[{address}]' if ':' in address else address}:{port}/  (Ctrl-C ends it)", flush=True)
        end_the_stalled(listener)
        server = make_server(app)
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        # One character is too little work for several threads: they would wait for each other, and slow every client.
        one_blas_thread()
        server.run(sockets=[listener])
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises `ConfigError` if the address or the port cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"cannot listen: {error.strerror}; choose another --port, or 0 for a free one") from error


def host_names(address: str, port: int) -> list[str]:
    """The names to answer to: this machine's for itself, or any, with a warning, if others can connect."""
    if ip_address(address).is_loopback:
        return ["localhost", "[::1]", address]
    LOG.warning(EXPOSURE, port)
    return ["*"]
