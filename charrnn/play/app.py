"""The page and the HTTP endpoint of `charrnn play`: text from trained models, shown as it is made."""

from __future__ import annotations

import html
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from itertools import zip_longest
from typing import Annotated, Any, TypeAlias

import gradio as gr
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from charrnn.config.options import AtLeast0, AtLeast1, told
from charrnn.errors import ConfigError, UserError
from charrnn.model.sampling import Sampling, generate_scored
from charrnn.outside.printable import encodable, one_line
from charrnn.play.guard import Guard
from charrnn.play.runs import Playable
from charrnn.run.shading import shaded_spans

Models: TypeAlias = Mapping[str, Playable]
"""What there is to play with, by the names of the runs."""
Scored: TypeAlias = list[tuple[str, float]]
"""Characters, each with the probability that the model gave it."""

MAX_LENGTH = 10_000
"""Characters that one request may ask for."""
MAX_PROMPT = 4_000
"""Characters that a prompt may have; a text that goes on is given to the model again from so far back."""
INTERVAL = 0.05
"""Seconds of characters that are sent at once."""
VIEW = '<div class="view" tabindex="0" role="group" aria-label="Text, shaded by surprise">${value}</div>'
MAX_TEMPERATURE = 2.0
"""Of the page's slider; above it hardly a word is whole."""
PAGE_PIECE = 25
"""Characters that the page shows in an `INTERVAL` at most: far more than one can read, few enough to watch."""


class Completion(Sampling):
    """What a client asks for: the fields are the query parameters of the endpoint."""

    prompt: Annotated[str, Field(max_length=MAX_PROMPT)] = ""
    length: Annotated[AtLeast1, Field(le=MAX_LENGTH)] = 1000
    seed: AtLeast0 = Field(default_factory=lambda: secrets.randbits(32))
    """By default another each time."""
    run: str = ""


def complete(models: Models, wanted: Completion, most: int = MAX_LENGTH) -> Iterator[Scored]:
    """Yields what comes after a prompt in pieces, each of the characters of one `INTERVAL`, but of ``most`` at most.

    Raises `UserError`, before the first piece is asked for, if there is no such run or its model cannot do it.
    """
    run = wanted.run or next(iter(models))
    if run not in models:
        raise ConfigError(f"there is no run {run!r} here: choose {', '.join(models)}")
    scored = generate_scored(models[run].model, models[run].vocab, **wanted.model_dump(exclude={"run"}))
    return _pieces(scored, most)


def _pieces(scored: Iterator[tuple[str, float]], most: int) -> Iterator[Scored]:
    piece: Scored = []
    end = time.monotonic() + INTERVAL
    try:
        for character, probability in scored:
            # A vocabulary can have lone surrogates, which UTF-8 has not.
            piece.append((encodable(character), probability))
            if len(piece) == most:
                time.sleep(max(0.0, end - time.monotonic()))
            if time.monotonic() >= end:
                yield piece
                piece, end = [], time.monotonic() + INTERVAL
    except UserError as error:
        # The status has been sent: that the model cannot go on can only be said in its place.
        piece.append((f"\nerror: {error}\n", 1.0))
    yield piece


def joined(piece: Iterable[tuple[str, float]]) -> str:
    """The text of scored characters."""
    return "".join(character for character, _ in piece)


async def posted(request: Request) -> Completion:
    """What a body asks for, of which `Guard` has seen that it is an object of JSON."""
    return Completion.from_values(json.loads(await request.body()))


def make_app(models: Models, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The server: `/complete` streams plain text, `/` is the page. It answers to the names in ``hosts`` only.

    Otherwise a page from elsewhere that points its own name at this machine could read what the models write.
    """
    page = make_page(models)
    # FastAPI's documentation would load scripts from another server.
    app = FastAPI(openapi_url=None)
    # What a button does in the browser alone is no function of the server.
    app.add_middleware(Guard, functions=[number for number, function in page.fns.items() if function.fn])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(UserError)
    def bad_request(_: Request, error: RequestValidationError | UserError) -> PlainTextResponse:
        return PlainTextResponse(f"error: {_reason(error)}\n", status_code=400)

    @app.get("/complete")
    def stream(wanted: Annotated[Completion, Query()]) -> StreamingResponse:
        pieces = map(joined, complete(models, wanted))
        return StreamingResponse(pieces, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})

    @app.post("/complete")
    def stream_posted(wanted: Annotated[Completion, Depends(posted)]) -> StreamingResponse:
        return stream(wanted)

    css = (resources.files("charrnn.play") / "templates" / "page.css").read_text(encoding="utf-8")
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
        # Gradio's own can hardly be read.
        body_text_color_subdued="#5b5b66",
        body_text_color_subdued_dark="#b4b4bd",
        button_primary_background_fill="#c2410c",
        button_primary_background_fill_dark="#c2410c",
        button_primary_background_fill_hover="#9a3412",
        button_primary_background_fill_hover_dark="#9a3412",
    )
    gr.mount_gradio_app(app, page, path="/", theme=theme, css=css, footer_links=[], run_history=False, max_file_size=0)
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
        gr.HTML(_head(models), elem_classes="intro")
        prompt = gr.Textbox(label="Beginning", placeholder="Type how the text begins", lines=2, max_length=MAX_PROMPT)
        if known := _beginnings(models):
            with gr.Row(elem_classes="beginnings"):
                for each in known:
                    button = gr.Button(each, size="sm", min_width=0)
                    button.click(None, button, prompt, js="(text) => text", api_visibility="private")
        with gr.Row():
            write = gr.Button("Write", variant="primary", min_width=90)
            go_on = gr.Button("Continue", min_width=90)
            stop = gr.Button("Stop", min_width=90)
        with gr.Row():
            with gr.Column():
                first = _column(models, run=0, temperature=0.8)
            with gr.Column(visible=several) as second_column:
                second = _column(models, run=1 if several else 0, temperature=0.8 if several else 0.4)
        with gr.Row():
            length = gr.Slider(
                100, MAX_LENGTH, 1000, step=100, label="Characters to write", info=f"100 to {MAX_LENGTH:,}"
            )
            seed = gr.Number(
                0, label="Seed", info="The same seed writes the same; 0: another each time", precision=0, minimum=0
            )
        compare = gr.Checkbox(several, label="Compare two side by side", container=False)

        def stream(values: dict[gr.Component, Any], event: gr.EventData) -> Iterator[dict[gr.Component, str]]:
            common = {"length": values[length], "seed": values[seed] or secrets.randbits(32)}
            columns = [first, second][: 1 + values[compare]]
            texts: dict[gr.Component, str] = {}
            streams: list[Iterator[Scored]] = []
            try:
                for box, _, settings in columns:
                    texts[box] = (event.target == go_on and values[box]) or values[prompt]
                    chosen = {name: values[component] for name, component in settings.items()}
                    wanted = Completion(prompt=texts[box][-MAX_PROMPT:], **common, **chosen)
                    streams.append(complete(models, wanted, PAGE_PIECE))
            except (UserError, ValidationError) as error:
                # Gradio shows a message as HTML.
                raise gr.Error(html.escape(_reason(error)), print_exception=False) from error
            shaded = {box: shaded_spans([(character, 1.0) for character in text]) for box, text in texts.items()}
            for pieces in zip_longest(*streams, fillvalue=()):
                shown: dict[gr.Component, str] = {}
                for (box, view, _), piece in zip(columns, pieces, strict=True):
                    texts[box] += joined(piece)
                    shaded[box] += shaded_spans(piece)
                    shown |= {box: texts[box], view: shaded[box]}
                yield shown

        compare.input(lambda on: gr.Column(visible=on), compare, second_column, api_visibility="private")
        streaming = gr.on(
            [write.click, go_on.click, prompt.submit],
            stream,
            {prompt, length, seed, compare, first[0], *first[2].values(), second[0], *second[2].values()},
            [*first[:2], *second[:2]],
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )
        stop.click(None, cancels=streaming)
    return page


def _head(models: Models) -> str:
    """The title, and each run with what is to be said of it; nothing of it is raw."""
    runs = "".join(
        f"<li><b>{html.escape(one_line(name))}</b> {html.escape(one_line(playable.about))}</li>"
        for name, playable in models.items()
    )
    return (
        "<h1>Write with a trained model</h1><p>It has read a text character by character, and goes on from yours in "
        "the manner of that text. What it writes is made up. The taller the bar before a character, and the stronger "
        f"its shade, the less sure the model was of it.</p><ul>{runs}</ul>"
    )


def _beginnings(models: Models) -> list[str]:
    """How texts may begin, a few of each model, without those that another one cannot read."""
    found = dict.fromkeys(each for playable in models.values() for each in playable.beginnings)
    return [each for each in found if all(set(each) <= set(playable.vocab.characters) for playable in models.values())]


def _column(models: Models, run: int, temperature: float) -> tuple[gr.Component, gr.Component, dict[str, gr.Component]]:
    """Adds what is in a column: its text, the same shaded, and the settings it is written with by their names."""
    names = list(models)
    chosen = gr.Dropdown(names, value=names[run], label="Run", visible=len(names) > 1)
    view = gr.HTML("", html_template=VIEW, padding=False, elem_classes="shaded")
    box = gr.Textbox(
        "",
        label="The same to edit",
        info="Continue goes on from what stands here.",
        lines=4,
        max_lines=8,
        buttons=["copy"],
        elem_classes="text",
    )
    with gr.Row():
        settings: dict[str, gr.Component] = {
            "run": chosen,
            "temperature": gr.Slider(
                0,
                MAX_TEMPERATURE,
                temperature,
                step=0.05,
                label="Temperature",
                info=f"0 always takes the likeliest character, 1 is as it learned, {MAX_TEMPERATURE:g} (the most) wild",
                min_width=200,
            ),
            "top_k": gr.Slider(
                0, 100, 0, step=1, label="Top-k", info="Only the k likeliest characters; 0 for all", min_width=200
            ),
            "top_p": gr.Slider(
                0.05,
                1,
                1,
                step=0.05,
                label="Top-p",
                info="Only the likeliest that hold this much probability; 1 for all",
                min_width=200,
            ),
        }
    return box, view, settings
