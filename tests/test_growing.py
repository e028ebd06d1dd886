"""Fine-tuning on a text with new characters, whole: what the model keeps, how it goes on, and who agrees on it."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

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

FLAGS = (*SMALL[2:], "--tracker", "none", "--log-every", "1", "--seed", "5")
SHAPES = {
    "embedding": ("--num-layers", "2"),
    "one-hot": ("--embedding-size", "0"),
    "tied": ("--tie-weights", "--embedding-size", "32", "--num-layers", "2"),
}
NEW = "äöüß"


@pytest.fixture(scope="module", params=SHAPES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt a text, and beside it one with new characters, which lacks some of the old ones."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "old.txt").write_text(make_text(30_000), encoding="utf-8")
    new = make_text(12_000, seed=0)[2_000:].replace("ba", "ä").replace("do", "ö").replace(". ", "ü ß")
    (folder / "new.txt").write_text(new.replace("!", ""), encoding="utf-8")
    flags = (*SMALL[:2], *FLAGS, *SHAPES[request.param], "--learning-rate", "0.01", "--max-steps", "200")
    run(DIRECT, *flags, "--corpus", f"files:{folder / 'old.txt'}", "--run-dir", folder / "run")
    return folder


def tuned(base: Path, *flags: str, launcher: list[str] = DIRECT, run_dir: str = "tuned") -> Path:
    """A run that goes on from that one, on the new text."""
    given = ("--init-from", base / "run", "--corpus", f"files:{base / 'new.txt'}", "--run-dir", run_dir)
    done = run(launcher, *FLAGS, *given, *flags)
    assert "the model of --init-from has yet to learn 'ß' (U+00DF), 'ä' (U+00E4), 'ö'" in done.stderr
    return Path(run_dir)


def test_it_begins_where_the_other_ended_and_learns_the_new(base: Path) -> None:
    folder = tuned(base, "--max-steps", "150", "--eval-every", "10", "--learning-rate", "0.01")
    old, new = (Vocabulary.load(each / "vocab.json") for each in (base / "run", folder))
    assert set(new.characters) == {*old.characters, *NEW}
    assert "!" in new.characters  # which the new text does not have
    losses = [row["train_loss"] for row in rows_of(folder / "metrics.jsonl")]
    fresh = rows_of(base / "run" / "metrics.jsonl")[0]["train_loss"]
    assert losses[0] < fresh
    assert sum(losses[-5:]) < sum(losses[:5]) - 1
    measured = [row["val_loss"] for row in rows_of(folder / "metrics.jsonl") if row["val_loss"]]
    assert measured[-1] < measured[0]
    text = charrnn.load(folder).generate("ä", length=200, temperature=1.0, seed=1)
    assert set(text) & set(NEW)
    assert charrnn.load(base / "run").vocab == old  # the base is as it was


def test_text_of_the_old_characters_costs_what_it_did_but_for_the_new_ones_share(base: Path) -> None:
    model, vocab = load_model(last_checkpoint(base / "run"))
    grown = vocab.grown(NEW)
    torch.manual_seed(derived_seed(5, 0, "weights"))
    shape = (model.hidden_size, model.num_layers, model.embedding_size, model.tie_weights)
    larger = CharLSTM(len(grown), *shape)
    take_weights(larger, grown, model, vocab)
    text = make_text(3_000, seed=0)
    before, after = evaluate(model, vocab.encode(text)), evaluate(larger, grown.encode(text))
    with torch.inference_mode():
        x_TB = torch.tensor(grown.encode(text[:-1]).tolist())[:, None]
        shares = larger(x_TB, larger.zero_state(1))[0].softmax(-1)[..., list(map(int, grown.encode(NEW)))].sum(-1)
    # What the softmax gives to new characters, the old ones lack: exactly so much is lost.
    assert after.nats - before.nats == pytest.approx(float(-torch.log1p(-shares).mean()), rel=0.02)
    assert before.nats < after.nats < before.nats + 0.5


def test_it_goes_on_bit_for_bit_without_what_it_came_from(base: Path) -> None:
    whole = tuned(base, "--max-steps", "30", run_dir="whole")
    folder = tuned(base, "--max-steps", "30", "--checkpoint-every", "12", "--keep", "9", run_dir="parts")
    for later in folder.glob("checkpoints/step-0000000[23]*"):
        shutil.rmtree(later)
    os.rename(base / "run", base / "elsewhere")
    try:
        run(DIRECT, "--run-dir", folder, "--resume")
    finally:
        os.rename(base / "elsewhere", base / "run")
    speedless = [
        [{**row, "chars_per_second": None} for row in rows_of(each / "metrics.jsonl")] for each in (whole, folder)
    ]
    assert speedless[0] == speedless[1]
    one, other = ((last_checkpoint(each) / "model.safetensors").read_bytes() for each in (whole, folder))
    assert one == other


def test_two_processes_agree_on_it(base: Path) -> None:
    launchers = {"one": DIRECT, "two": torchrun(2)}
    folders = [tuned(base, "--max-steps", "12", launcher=launchers[name], run_dir=name) for name in launchers]
    one, two = ([row["train_loss"] for row in rows_of(folder / "metrics.jsonl")] for folder in folders)
    assert two == pytest.approx(one, rel=1e-5)


def test_a_model_with_unknown_characters_reads_new_ones_as_such() -> None:
    Path("old.txt").write_text("abc " * 2_000 + "é", encoding="utf-8")
    Path("new.txt").write_text("abcä " * 1_000, encoding="utf-8")
    run(
        DIRECT,
        *SMALL[:2],
        *FLAGS,
        "--min-freq",
        "2",
        "--max-steps",
        "5",
        "--corpus",
        "files:old.txt",
        "--run-dir",
        "old",
    )
    flags = ("--init-from", "old", "--max-steps", "2", "--corpus", "files:new.txt", "--run-dir", "new")
    done = run(DIRECT, *FLAGS, *flags)
    assert "20.00% <unk>" in done.stdout
    assert Path("new/vocab.json").read_bytes() == Path("old/vocab.json").read_bytes()


def test_its_text_is_found_again(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tuned(base, "--max-steps", "3")
    assert main(["eval", str(folder), "--split", "val"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["loss"] == pytest.approx(rows_of(folder / "metrics.jsonl")[-1]["val_loss"], rel=1e-5)
    assert math.isfinite(measured["bpc"])
