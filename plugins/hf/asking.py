"""One question to the Hugging Face hub, with an answer in bounded time and size, or none.

A hub that sends a byte now and then, or never ends, is asked in a thread of its own, which is left behind.
"""

from __future__ import annotations

import json
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

STALL_SECONDS = 5.0
"""Until a connection stands, and between two pieces of an answer."""
DEADLINE_SECONDS = 20.0
MAX_BYTES = 100_000_000


def ask(path: str, **params: Any) -> Any:
    """What the hub answers in JSON; raises what `huggingface_hub` does, or `TimeoutError`, or `ValueError`."""
    answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put((_read(path, params), None))
        except BaseException as error:  # whatever it is, the other thread raises it
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = answers.get(timeout=DEADLINE_SECONDS + 1)
    except Empty:
        raise _late() from None
    if error:
        raise error
    return answer


def _read(path: str, params: dict[str, Any]) -> Any:
    from huggingface_hub import constants, get_session, get_token, utils

    # Not the library's own headers: to make them, it asks the hub for a list, and waits for its end.
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    until, body = time.monotonic() + DEADLINE_SECONDS, bytearray()
    request = {"headers": headers, "params": params, "timeout": STALL_SECONDS, "follow_redirects": True}
    session: Any = get_session()
    with session.stream("GET", f"{constants.ENDPOINT}/api/{path}", **request) as response:
        for piece in response.iter_bytes():
            body += piece
            if time.monotonic() > until:
                raise _late()
            if len(body) > MAX_BYTES:
                raise ValueError(f"it sends more than {MAX_BYTES} bytes")
        # Told from the body, which a response that is read in pieces does not keep.
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        whole = type(response)(response.status_code, headers=kept, content=bytes(body), request=response.request)
    hub: Any = utils  # its names are loaded when they are used, which type checkers do not see
    hub.hf_raise_for_status(whole)
    return json.loads(body)


def _late() -> TimeoutError:
    return TimeoutError(f"it gave no whole answer within {DEADLINE_SECONDS:g} s")
