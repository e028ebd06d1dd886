"""Fine-tuning on a text with new characters, whole: what the model keeps, how it goes on, and who agrees on it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.cli import main
from charrnn.model.evaluation import evaluate
from charrnn.model.folder import load_model
from charrnn.model.growing import take_weights
from charrnn.model.lstm import CharLSTM
from charrnn.text.vocab import Vocabulary
from charrnn.training.randomness import derived_seed
from tests.conftest import DIRECT, SMALL, last_checkpoint, make_text, rows_of, run, torchrun

SETTINGS: dict[str, Any] = {
    "batch_size": 8,
    "seq_length": 16,
    "sample_length": 40,
    "num_threads": 1,
    "log_every": 1,
    "seed": 5,
    "tracker": "none",
}
SHAPES: dict[str, dict[str, Any]] = {
    "embedding": {"num_layers": 2},
    "one-hot": {"embedding_size": 0},
    "tied": {"tie_weights": True, "embedding_size": 32, "num_layers": 2},
}
NEW = "äöüß"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=SHAPES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt a text, and beside it one with new characters, which lacks some of the old ones."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "old.txt").write_text(make_text(30_000), encoding="utf-8")
    new = make_text(12_000)[2_000:].replace("ba", "ä").replace("do", "ö").replace(". ", "ü ß")
    (folder / "new.txt").write_text(new.replace("!", ""), encoding="utf-8")
    settings = {**SETTINGS, **SHAPES[request.param], "hidden_size": 32, "learning_rate": 0.01, "max_steps": 200}
    charrnn.fit(f"files:{folder / 'old.txt'}", run_dir=folder / "run", **settings)
    return folder


def tuned(base: Path, name: str, **settings: Any) -> Path:
    """A run that goes on from that one, on the new text."""
    settings = {**SETTINGS, "init_from": base / "run", "run_dir": name, **settings}
    return charrnn.fit(f"files:{base / 'new.txt'}", **settings).folder


def test_it_begins_where_the_other_ended_and_learns_the_new(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        folder = tuned(base, "run", max_steps=150, eval_every=10, learning_rate=0.01)
    assert "the model of --init-from has yet to learn 'ß' (U+00DF), 'ä' (U+00E4), 'ö'" in caplog.text
    old, new = (Vocabulary.load(each / "vocab.json") for each in (base / "run", folder))
    assert set(new.characters) == {*old.characters, *NEW}
    assert "!" in new.characters  # which the new text does not have
    losses = [row["train_loss"] for row in rows_of(folder / "metrics.jsonl")]
    assert losses[0] < rows_of(base / "run" / "metrics.jsonl")[0]["train_loss"]
    assert sum(losses[-5:]) < sum(losses[:5]) - 1
    measured = [row["val_loss"] for row in rows_of(folder / "metrics.jsonl") if row["val_loss"]]
    assert measured[-1] < measured[0]
    assert set(charrnn.load(folder).generate("ä", length=200, temperature=1.0, seed=1)) & set(NEW)
    assert charrnn.load(base / "run").vocab == old  # the base is as it was


def test_text_of_the_old_characters_costs_what_it_did_but_for_the_new_ones_share(base: Path) -> None:
    model, vocab = load_model(last_checkpoint(base / "run"))
    grown = vocab.grown(NEW)
    torch.manual_seed(derived_seed(5, 0, "weights"))
    larger = CharLSTM(len(grown), model.hidden_size, model.num_layers, model.embedding_size, model.tie_weights)
    take_weights(larger, grown, model, vocab)
    text = make_text(3_000)
    before, after = evaluate(model, vocab.encode(text)), evaluate(larger, grown.encode(text))
    with torch.inference_mode():
        x_TB = torch.tensor(grown.encode(text[:-1]).tolist())[:, None]
        shares = larger(x_TB, larger.zero_state(1))[0].softmax(-1)[..., grown.encode(NEW).tolist()].sum(-1)
    # What the softmax gives to new characters, the old ones lack: exactly so much is lost.
    assert after.nats - before.nats == pytest.approx(float(-torch.log1p(-shares).mean()), rel=0.02)
    assert before.nats < after.nats < before.nats + 0.5


def test_it_goes_on_bit_for_bit_without_what_it_came_from(base: Path) -> None:
    whole = tuned(base, "whole", max_steps=30)
    parts = tuned(base, "parts", max_steps=30, checkpoint_every=12, keep=9)
    for later in parts.glob("checkpoints/step-0000000[23]*"):
        shutil.rmtree(later)
    os.rename(base / "run", base / "elsewhere")
    try:
        charrnn.fit(run_dir=parts, resume=True)
    finally:
        os.rename(base / "elsewhere", base / "run")
    one, other = ([{**row, "chars_per_second": 0} for row in rows_of(run / "metrics.jsonl")] for run in (whole, parts))
    assert one == other
    first, second = ((last_checkpoint(run) / "model.safetensors").read_bytes() for run in (whole, parts))
    assert first == second


def test_its_text_is_found_again(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tuned(base, "run", max_steps=3)
    capsys.readouterr()
    assert main(["eval", str(folder), "--split", "val"]) == 0
    loss = json.loads(capsys.readouterr().out)["loss"]
    assert loss == pytest.approx(rows_of(folder / "metrics.jsonl")[-1]["val_loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["tied"], indirect=True)
def test_two_processes_agree_on_it(base: Path) -> None:
    flags = (*SMALL[2:], "--tracker", "none", "--log-every", "1", "--max-steps", "12", "--init-from", base / "run")
    for name, launcher in {"one": DIRECT, "two": torchrun(2)}.items():
        run(launcher, *flags, "--corpus", f"files:{base / 'new.txt'}", "--run-dir", name)
    one, two = ([row["train_loss"] for row in rows_of(Path(name, "metrics.jsonl"))] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-5)


def test_a_model_with_unknown_characters_reads_new_ones_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.txt").write_text("abc " * 2_000 + "é", encoding="utf-8")
    Path("new.txt").write_text("abcä " * 1_000, encoding="utf-8")
    charrnn.fit("files:old.txt", run_dir="old", hidden_size=32, min_freq=2, max_steps=2, **SETTINGS)
    charrnn.fit("files:new.txt", run_dir="new", init_from="old", max_steps=2, **SETTINGS)
    assert "20.00% <unk>" in capsys.readouterr().out
    assert Path("new/vocab.json").read_bytes() == Path("old/vocab.json").read_bytes()
