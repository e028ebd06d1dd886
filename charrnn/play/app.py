"""The page and the HTTP endpoint of `charrnn play`: text from trained models, shown as it is made."""

from __future__ import annotations

import html
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Annotated, Any, TypeAlias

import gradio as gr
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from charrnn.config.options import AtLeast0, AtLeast1, told
from charrnn.errors import ConfigError, UserError
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import Sampling, generate
from charrnn.play.guard import Guard
from charrnn.text.vocab import Vocabulary

Models: TypeAlias = Mapping[str, tuple[CharLSTM, Vocabulary]]
"""Models and their vocabularies by the names of their runs."""

MAX_LENGTH = 10_000
"""Characters that one request may ask for."""
MAX_PROMPT = 4_000
"""Characters that a prompt may have; a text that goes on is given to the model again from so far back."""
INTERVAL = 0.05
"""Seconds of characters that are sent at once."""
CSS = ".text textarea { font-family: var(--font-mono) }"
PAGE_PIECE = 25
"""Characters that the page shows in an `INTERVAL` at most: far more than one can read, few enough to watch."""


class Completion(Sampling):
    """What a client asks for: the fields are the query parameters of the endpoint."""

    prompt: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    length: Annotated[AtLeast1, Field(le=MAX_LENGTH)] = 1000
    seed: AtLeast0 = Field(default_factory=lambda: secrets.randbits(32))
    """By default another each time."""
    run: str = ""


def complete(models: Models, wanted: Completion, most: int = MAX_LENGTH) -> Iterator[str]:
    """Yields what comes after a prompt in pieces, each of the characters of one `INTERVAL`, but of ``most`` at most.

    Raises `UserError`, before the first piece is asked for, if there is no such run or its model cannot do it.
    """
    run = wanted.run or next(iter(models))
    if run not in models:
        raise ConfigError(f"there is no run {run!r} here: choose {', '.join(models)}")
    characters = generate(*models[run], **wanted.model_dump(exclude={"run"}))
    # A vocabulary can have lone surrogates, which UTF-8 has not.
    return _pieces((character.encode("utf-8", "backslashreplace").decode() for character in characters), most)


def _pieces(characters: Iterator[str], most: int) -> Iterator[str]:
    piece, end = "", time.monotonic() + INTERVAL
    try:
        for character in characters:
            piece += character
            if len(piece) == most:
                time.sleep(max(0.0, end - time.monotonic()))
            if time.monotonic() >= end:
                yield piece
                piece, end = "", time.monotonic() + INTERVAL
    except UserError as error:
        # The status has been sent: that the model cannot go on can only be said in its place.
        piece += f"\nerror: {error}\n"
    yield piece


def make_app(models: Models, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The server: `/complete` streams plain text, `/` is the page. It answers to the names in ``hosts`` only.

    Otherwise a page from elsewhere that points its own name at this machine could read what the models write.
    """
    page = make_page(models)
    # FastAPI's documentation would load scripts from another server.
    app = FastAPI(openapi_url=None)
    app.add_middleware(Guard, functions=page.fns.keys())
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(UserError)
    def bad_request(_: Request, error: RequestValidationError | UserError) -> PlainTextResponse:
        return PlainTextResponse(f"error: {_reason(error)}\n", status_code=400)

    @app.get("/complete")
    def stream(wanted: Annotated[Completion, Query()]) -> StreamingResponse:
        pieces = complete(models, wanted)
        return StreamingResponse(pieces, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(app, page, path="/", theme=theme, css=CSS, footer_links=[], run_history=False, max_file_size=0)
    return app


def _reason(error: UserError | RequestValidationError | ValidationError) -> str:
    if isinstance(error, UserError):
        return str(error)
    first = error.errors()[0]
    return told(Completion, {**first, "loc": first["loc"][-1:]})


def make_page(models: Models) -> gr.Blocks:
    """The page: how a text begins, and one or two columns that go on from it, each with its own run and settings."""
    several = len(models) > 1
    page = gr.Blocks(title="charrnn", analytics_enabled=False)
    with page:
        prompt = gr.Textbox(label="Beginning", placeholder="Type how the text begins", lines=2, max_length=MAX_PROMPT)
        with gr.Row():
            length = gr.Slider(100, MAX_LENGTH, 1000, step=100, label="Characters to write")
            seed = gr.Number(0, label="Seed (0: another each time)", precision=0, minimum=0)
            compare = gr.Checkbox(several, label="Compare two side by side", container=False)
        with gr.Row():
            write = gr.Button("Write", variant="primary", min_width=90)
            go_on = gr.Button("Continue", min_width=90)
            stop = gr.Button("Stop", min_width=90)
        with gr.Row():
            with gr.Column():
                first = _column(models, run=0, temperature=0.8)
            with gr.Column(visible=several) as second_column:
                second = _column(models, run=1 if several else 0, temperature=0.8 if several else 0.4)

        def stream(values: dict[gr.Component, Any], event: gr.EventData) -> Iterator[dict[gr.Component, str]]:
            common = {"length": values[length], "seed": values[seed] or secrets.randbits(32)}
            texts: dict[gr.Component, str] = {}
            streams: list[Iterator[str]] = []
            try:
                for box, settings in [first, second][: 1 + values[compare]]:
                    texts[box] = (event.target == go_on and values[box]) or values[prompt]
                    chosen = {name: values[component] for name, component in settings.items()}
                    wanted = Completion(prompt=texts[box][-MAX_PROMPT:], **common, **chosen)
                    streams.append(complete(models, wanted, PAGE_PIECE))
            except (UserError, ValidationError) as error:
                # Gradio shows a message as HTML.
                raise gr.Error(html.escape(_reason(error)), print_exception=False) from error
            for pieces in zip_longest(*streams, fillvalue=""):
                texts = {box: text + piece for (box, text), piece in zip(texts.items(), pieces, strict=True)}
                yield texts

        compare.input(lambda on: gr.Column(visible=on), compare, second_column, api_visibility="private")
        streaming = gr.on(
            [write.click, go_on.click, prompt.submit],
            stream,
            {prompt, length, seed, compare, first[0], *first[1].values(), second[0], *second[1].values()},
            [first[0], second[0]],
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )
        stop.click(None, cancels=streaming)
    return page


def _column(models: Models, run: int, temperature: float) -> tuple[gr.Component, dict[str, gr.Component]]:
    """Adds what is in a column, and returns its text and the settings it is written with by their names."""
    names = list(models)
    settings: dict[str, gr.Component] = {"run": gr.Dropdown(names, value=names[run], label="Run")}
    with gr.Row():
        settings |= {
            "temperature": gr.Slider(0, 2, temperature, step=0.05, label="Temperature", min_width=140),
            "top_k": gr.Slider(0, 100, 0, step=1, label="Top-k", min_width=140),
            "top_p": gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", min_width=140),
        }
    return gr.Textbox("", label="Text", lines=20, max_lines=20, buttons=["copy"], elem_classes="text"), settings
