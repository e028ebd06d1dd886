"""The main command, whole: what it leaves behind, how it is launched, what it says to bad input."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import charrnn
from charrnn.cli import main
from charrnn.config.sources import parse
from charrnn.distributed import accelerator
from charrnn.training import preparation, step
from charrnn.training.preparation import wanted_precision
from tests.conftest import (
    ACCELERATE,
    DIRECT,
    SHARED,
    SMALL,
    free_ports,
    last_checkpoint,
    make_text,
    program,
    rows_of,
    run,
    start,
    status,
    torchrun,
    train_here,
    wait_until,
)

Train = Callable[..., int]


@pytest.fixture
def train() -> Train:
    """The main command in this process: returns the exit code."""
    return train_here


def quiet(text_file: Path, *flags: str) -> tuple[str, ...]:
    return (*SMALL, "--tracker", "none", "--corpus", f"files:{text_file}", *flags)


def test_the_main_command_leaves_a_whole_run_folder(text_file: Path) -> None:
    done = run(ACCELERATE, *quiet(text_file, "--epochs", "2", "--run-dir", "run"))
    folder = Path("run")
    metrics, samples = rows_of(folder / "metrics.jsonl"), rows_of(folder / "samples.jsonl")
    keys = {"step", "epoch", "train_loss", "val_loss", "val_bpc", "learning_rate", "grad_norm", "chars_per_second"}
    assert all(set(row) == keys for row in metrics)
    measured = [row for row in metrics if row["val_loss"] is not None]
    assert [round(row["epoch"]) for row in measured] == [1, 2]
    assert measured[1]["val_loss"] < measured[0]["val_loss"] < 4
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert [(round(row["epoch"]), row["temperature"]) for row in samples] == [
        (epoch, temperature) for epoch in (1, 2) for temperature in (0.5, 0.8, 1.0)
    ]
    assert all(len(row["text"]) == 40 for row in samples)
    assert samples[0]["text"] in done.stdout
    assert (last_checkpoint(folder) / "model.safetensors").exists()
    assert status(folder)["state"] == "finished"
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 32
    assert "charrnn sample run" in done.stdout
    bits = min(row["val_bpc"] for row in measured)
    known = json.loads((folder / "baselines.json").read_text())
    assert f"\n{bits:.2f} bits a character on text it has not seen (letter frequencies " in done.stdout
    assert f"xz {known['xz']:.2f}); still learning: more minutes would help (--resume --minutes +10)\n" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_finished_run_is_repeated_from_its_config(train: Train, text_file: Path) -> None:
    assert train(*quiet(text_file, "--max-steps", "30", "--run-dir", "one", "--seed", "3")) == 0
    assert train("--config", "one/config.json", "--run-dir", "two") == 0
    assert train("--config", "one/config.json", "--run-dir", "three", "--seed", "4") == 0
    one, two, three = (
        (last_checkpoint(Path(name)) / "model.safetensors").read_bytes() for name in ("one", "two", "three")
    )
    assert one == two
    assert one != three


def test_the_start_shows_the_first_line_of_each_corpus(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.txt").write_text("\n \n  The evening\x1b[31m was quiet.\nNobody came.\n" * 50)
    Path("b.txt").write_text("Rain again. " * 100)
    flags = (*SMALL, "--tracker", "none", "--max-steps", "1", "--corpus", "files:a.txt", "--val-corpus", "files:b.txt")
    assert train(*flags) == 0
    shown = capfd.readouterr().out
    assert "characters, the first line: The evening\\x1b[31m was quiet.\n" in shown
    assert f"(to validate): 1 document, 1,200 characters, the first line: {('Rain again. ' * 5).strip()}\n" in shown


def test_max_steps_end_the_run_with_loss_sample_and_checkpoint(train: Train, text_file: Path) -> None:
    assert train(*quiet(text_file, "--max-steps", "7", "--run-dir", "run")) == 0
    assert rows_of(Path("run/metrics.jsonl"))[-1]["step"] == 7
    assert rows_of(Path("run/metrics.jsonl"))[-1]["val_loss"] > 0
    assert rows_of(Path("run/samples.jsonl"))[-1]["step"] == 7
    assert last_checkpoint(Path("run")).name == "step-000000007"


@pytest.mark.parametrize("preset", ["karpathy", "blog", "laptop"])
def test_presets_train(preset: str, train: Train, text_file: Path) -> None:
    flags = ("--preset", preset, "--corpus", f"files:{text_file}", "--tracker", "none", "--max-steps", "12")
    assert train(*flags, "--run-dir", "run", "--sample-length", "20", "--num-threads", "1") == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["preset"] == preset
    if preset == "blog":
        assert (config["batch_size"], config["loss_on"], config["embedding_size"]) == (1, "last", 0)
        assert [row["temperature"] for row in rows_of(Path("run/samples.jsonl"))] == [1.0, 0.1]


def test_window_lengths_are_drawn_between_their_bounds(train: Train, text_file: Path) -> None:
    flags = quiet(text_file, "--min-seq-length", "5", "--max-steps", "40", "--log-every", "1", "--run-dir", "run")
    assert train(*flags) == 0
    row_length = (27_000 - 1) // 8
    times = [0, *(round(row["epoch"] * row_length) for row in rows_of(Path("run/metrics.jsonl")))]
    lengths = [after - before for before, after in itertools.pairwise(times)]
    assert set(lengths) <= set(range(5, 17))
    assert len(set(lengths)) > 6


def test_several_corpora_share_one_vocabulary(train: Train, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc " * 500)
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("äöü " * 500)
    flags = (*SMALL, "--tracker", "none", "--max-steps", "5", "--run-dir", "run")
    assert train(*flags, "--corpus", f"files:{tmp_path / 'a.txt'}", "--corpus", f"files:{tmp_path / 'b.txt.gz'}") == 0
    assert "".join(json.loads(Path("run/vocab.json").read_text())["characters"]) == "\n abcäöü"


def test_rare_characters_become_unknown(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("abc " * 500 + "é")
    flags = (*SMALL, "--tracker", "none", "--max-steps", "5", "--run-dir", "run", "--min-freq", "2", "--prompt", "aéb")
    assert train(*flags, "--corpus", f"files:{tmp_path / 'a.txt'}") == 0
    assert "<unk>" in capsys.readouterr().out
    assert "é" not in json.loads(Path("run/vocab.json").read_text())["characters"]


@pytest.mark.slow
def test_characters_that_only_make_steps_longer_are_said(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    (tmp_path / "code.py").write_text(table + "def main(): return 42\n" * 70_000, encoding="utf-8")
    train("--corpus", f"files:{tmp_path}/code.py", "--max-steps", "1", "--val-characters", "500")
    said = capsys.readouterr().out
    assert "600 of the 617 different characters are 0.043% of the text: without them (--min-freq 100) steps" in said
    train("--corpus", f"files:{tmp_path}/code.py", "--max-steps", "1", "--val-characters", "500", "--min-freq", "100")
    said = capsys.readouterr().out
    assert " 18 different" in said
    assert "steps are faster" not in said


def test_a_saved_vocabulary_is_used_again(train: Train, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*quiet(text_file, "--max-steps", "5", "--run-dir", "one")) == 0
    Path("other.txt").write_text("Ba do ki. " * 300)
    flags = (*SMALL, "--tracker", "none", "--max-steps", "5", "--vocab", "one/vocab.json")
    assert train(*flags, "--corpus", "files:other.txt", "--run-dir", "two") == 0
    assert Path("two/vocab.json").read_bytes() == Path("one/vocab.json").read_bytes()
    Path("other.txt").write_text("Ça va. " * 300)
    assert train(*flags, "--corpus", "files:other.txt", "--run-dir", "three") == 1
    assert "'Ç'" in capsys.readouterr().err


def test_fine_tuning_starts_from_another_runs_weights(
    train: Train, text_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(*quiet(text_file, "--epochs", "3", "--run-dir", "one")) == 0
    learnt = rows_of(Path("one/metrics.jsonl"))[-1]["val_loss"]
    other = tmp_path / "other.txt"
    other.write_text(make_text(20_000, seed=0)[5_000:], encoding="utf-8")
    flags = (
        "--corpus",
        f"files:{other}",
        "--tracker",
        "none",
        "--max-steps",
        "2",
        "--batch-size",
        "8",
        "--num-threads",
        "1",
    )
    assert train(*flags, "--init-from", "one", "--run-dir", "two") == 0
    config = json.loads(Path("two/config.json").read_text())
    assert (config["hidden_size"], config["init_from"]) == (32, "one")
    assert rows_of(Path("two/metrics.jsonl"))[-1]["val_loss"] == pytest.approx(learnt, abs=0.3)
    for resume, folder in (((), "three"), (("--resume",), "two")):
        capfd.readouterr()
        flags = (*flags, "--init-from", "one", "--run-dir", folder, *resume)
        assert train(*flags, "--hidden-size", "300") == 1
        assert "--hidden-size: the model of --init-from has its own: leave it out" in capfd.readouterr().err
    assert not Path("three").exists()


def test_no_validation_text_is_fine(train: Train, text_file: Path) -> None:
    assert train(*quiet(text_file, "--max-steps", "5", "--val-fraction", "0", "--run-dir", "run")) == 0
    assert rows_of(Path("run/metrics.jsonl"))[-1]["val_loss"] is None


def test_a_corpus_without_a_key_is_kept_in_the_run_folder(train: Train, tmp_path: Path) -> None:
    Path("drawn.py").write_text(
        "import charrnn, itertools\n"
        "counter = itertools.count()\n"
        "@charrnn.hookimpl\n"
        "def register_corpora(register):\n    register('drawn', drawn)\n"
        "def drawn(argument):\n    'drawn:WORD, many times.'\n    yield f'{argument}{next(counter)} ' * 1000\n"
    )
    flags = (*SMALL, "--tracker", "none", "--plugin", "drawn", "--corpus", "drawn:hello", "--run-dir", "run")
    assert train(*flags, "--max-steps", "5") == 0
    assert Path("run/store/store.json").exists()
    assert not (tmp_path / "cache" / "charrnn" / "stores").exists()
    # The source would give another text now; the run goes on with its own.
    assert train(*flags, "--max-steps", "9", "--resume") == 0
    assert status(Path("run"))["step"] == 9


def test_the_text_is_read_once_for_runs_that_share_it(train: Train, text_file: Path, tmp_path: Path) -> None:
    assert train(*quiet(text_file, "--max-steps", "2", "--run-dir", "one")) == 0
    (store,) = (tmp_path / "cache" / "charrnn" / "stores").glob("*/store.json")
    built = store.stat().st_mtime_ns
    assert train(*quiet(text_file, "--max-steps", "2", "--run-dir", "two", "--seed", "1")) == 0
    assert store.stat().st_mtime_ns == built
    os.utime(text_file, ns=(1, 1))
    assert train(*quiet(text_file, "--max-steps", "2", "--run-dir", "three")) == 0
    assert len(list((tmp_path / "cache" / "charrnn" / "stores").glob("*/store.json"))) == 2


@pytest.mark.slow
def test_the_default_job_uses_all_cores(text_file: Path) -> None:
    flags = [
        flag for flag in quiet(text_file, "--max-steps", "3", "--run-dir", "run") if flag not in ("--num-threads", "1")
    ]
    cores = len(os.sched_getaffinity(0))
    assert f"{cores} threads" in run(ACCELERATE, *flags).stdout


@pytest.mark.slow
def test_mpirun_through_accelerate_trains_one_job(train: Train, text_file: Path) -> None:
    if not any(os.access(Path(folder) / "mpirun", os.X_OK) for folder in os.environ["PATH"].split(":")):
        pytest.skip("mpirun is not installed (Debian: openmpi-bin)")
    Path("hosts").write_text("localhost slots=2\n")
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    (port,) = free_ports(1)
    launcher = [program("accelerate"), "launch", "--cpu", "--num_processes", "2", "--mpirun_hostfile", "hosts"]
    launcher += ["--main_process_port", str(port), "-m", "charrnn.train"]
    try:
        done = run(launcher, *quiet(text_file, "--max-steps", "20", "--run-dir", "two", "--log-every", "1"))
    finally:
        del os.environ["OMPI_ALLOW_RUN_AS_ROOT"], os.environ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"]
    assert "2 processes" in done.stdout
    assert train(*quiet(text_file, "--max-steps", "20", "--run-dir", "one", "--log-every", "1")) == 0
    losses = [[row["train_loss"] for row in rows_of(Path(name) / "metrics.jsonl")] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


BAD = {
    "unknown scheme": (["--corpus", "nowhere:x"], ["no corpus 'nowhere'", "files", "gutenberg", "hf", "python"]),
    "malformed spec": (["--corpus", "novel.txt"], ["'novel.txt' is not a corpus", "SCHEME:ARGUMENT"]),
    "missing file": (["--corpus", "files:missing.txt"], ["missing.txt"]),
    "empty corpus": (["--corpus", "files:empty.txt"], ["files:empty.txt", "no text"]),
    "too small for the rows": (["--batch-size", "5000"], ["too few for 5000 rows", "--batch-size 1687 fits"]),
    "prompt": (["--prompt", "é"], ["'é'"]),
    "preset": (["--preset", "desktop"], ["'desktop'", "laptop, laptop-long, gpu"]),
    "value": (["--dropout", "1.5"], ["--dropout 1.5"]),
    "config": (["--config", "missing.json"], ["missing.json"]),
    "vocabulary": (["--vocab", "missing.json"], ["missing.json"]),
    "plugin": (["--plugin", "no_such_module"], ["no_such_module"]),
    "tiny validation": (["--val-corpus", "files:tiny.txt"], ["--val-corpus files:tiny.txt", "too short"]),
    "option": (["--corpus", "files:empty.txt?colour=red"], ["'colour'", "encoding"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, train: Train, text_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").touch()
    Path("tiny.txt").write_text("a")
    flags, phrases = BAD[name]
    base = quiet(text_file, "--max-steps", "2", "--run-dir", "run")
    if "--corpus" in flags:
        base = base[: base.index("--corpus")] + base[base.index("--corpus") + 2 :]
    assert train(*base, *flags) == 1
    output = capfd.readouterr()
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    for phrase in phrases:
        assert phrase in output.err
    assert not Path("run").exists()


def test_a_starting_model_that_is_not_there_is_one_line(
    train: Train, text_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("--corpus", f"files:{text_file}", "--init-from", "nothing", "--run-dir", "run") == 1
    assert "error: nothing holds no checkpoint" in capfd.readouterr().err
    assert not Path("run").exists()


def test_resume_needs_a_folder(train: Train, text_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(*quiet(text_file, "--resume")) == 1
    assert "--run-dir" in capfd.readouterr().err


def test_a_used_run_folder_is_refused(train: Train, text_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = quiet(text_file, "--max-steps", "2", "--run-dir", "run")
    assert train(*flags) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file() and path.name != ".lock"}
    assert train(*flags) == 1
    assert "--resume" in capfd.readouterr().err
    assert before == {
        path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert train(*flags, "--resume") == 0


@pytest.mark.slow
def test_a_run_folder_in_use_is_refused(train: Train, text_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = start(DIRECT, *quiet(text_file, "--max-steps", "1000000", "--run-dir", "run"))
    try:
        wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
        assert train(*quiet(text_file, "--max-steps", "2", "--run-dir", "run", "--resume")) == 1
        assert "in use" in capfd.readouterr().err
    finally:
        process.kill()
        process.communicate()


def test_resume_with_nothing_saved_starts_afresh(train: Train, text_file: Path) -> None:
    assert train(*quiet(text_file, "--max-steps", "2", "--run-dir", "run", "--resume")) == 0
    assert status(Path("run"))["step"] == 2


def test_resume_refuses_another_text_or_model(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    mine = Path("mine.txt")
    mine.write_text(make_text(20_000))
    flags = (*SMALL, "--tracker", "none", "--corpus", "files:mine.txt", "--run-dir", "run")
    assert train(*flags, "--max-steps", "2") == 0
    assert train(*flags, "--max-steps", "4", "--resume", "--hidden-size", "16") == 1
    assert "--hidden-size 16 (it was 32)" in capfd.readouterr().err
    mine.write_text(make_text(20_000)[::-1])
    assert train(*flags, "--max-steps", "4", "--resume") == 1
    assert "another text" in capfd.readouterr().err


def test_a_loss_that_is_no_number_stops_the_run(
    train: Train, text_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = quiet(text_file, "--max-steps", "300", "--run-dir", "run", "--checkpoint-every", "1", "--log-every", "1")
    wild = ("--learning-rate", "1e38", "--warmup", "0.9", "--grad-clip", "0", "--optimizer", "rmsprop")
    assert train(*flags, *wild) == 1
    assert "no longer a number" in capfd.readouterr().err
    assert status(Path("run"))["state"] == "failed"
    weights = charrnn.CharLSTM.from_pretrained(last_checkpoint(Path("run"))).state_dict().values()
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


@pytest.mark.slow
def test_fewer_rows_than_processes_are_refused(text_file: Path) -> None:
    done = run(torchrun(2), *quiet(text_file, "--batch-size", "1", "--run-dir", "run"), code=1)
    assert "--batch-size 1 has fewer rows than the job has processes: use 2 or more" in done.stderr
    assert done.stderr.count("error: --batch-size") == 1
    assert not Path("run").exists()


@pytest.mark.slow
def test_accelerate_that_starts_one_process_of_two_is_refused(text_file: Path) -> None:
    launcher = [program("accelerate"), "launch", "--cpu", "--num_processes", "2", "-m", "charrnn.train"]
    done = run(launcher, *quiet(text_file, "--run-dir", "run"), code=1)
    assert "starts one: add --mpirun_hostfile" in done.stderr
    assert not Path("run").exists()


UNWANTED = {
    "ACCELERATE_DYNAMO_BACKEND": ("inductor", "--dynamo_backend"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("4", "--gradient_accumulation_steps"),
    "ACCELERATE_USE_DEEPSPEED": ("true", "DEEPSPEED"),
    "ACCELERATE_USE_FSDP": ("true", "FSDP"),
    "ACCELERATE_MIXED_PRECISION": ("fp16", "--mixed_precision fp16"),
}


ASK_EACH = """
import json, os, sys
import charrnn.train  # which takes seconds: once for all of them

for name, value in json.loads(sys.argv[1]).items():
    if (child := os.fork()) == 0:
        os.environ[name] = value
        os.dup2(os.open(f"{name}.txt", os.O_WRONLY | os.O_CREAT), 2)
        os._exit(charrnn.train.main(sys.argv[2:]))
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_what_accelerate_is_asked_for_and_would_not_happen_is_refused(text_file: Path) -> None:
    asked = json.dumps({name: value for name, (value, _) in UNWANTED.items()})
    ask = ["env", "CUDA_VISIBLE_DEVICES=", sys.executable, "-c", ASK_EACH, asked]
    assert run(ask, *quiet(text_file, "--run-dir", "run")).stdout == "".join(f"{name} 1\n" for name in UNWANTED)
    for name, (_, phrase) in UNWANTED.items():
        said = Path(f"{name}.txt").read_text()
        assert said.count("\n") == 1, said
        assert said.startswith("error: ")
        assert phrase in said
    assert not Path("run").exists()


def test_resuming_in_other_circumstances_is_said(
    train: Train, text_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = quiet(text_file, "--run-dir", "run")
    assert train(*flags, "--max-steps", "2") == 0
    assert train(*flags, "--max-steps", "3", "--resume") == 0
    assert caplog.messages == ["resuming with --max-steps 3 (it was 2)"]
    assert train(*flags, "--max-steps", "4", "--num-threads", "2", "--resume") == 0
    assert caplog.messages[1:] == [
        "resuming with --max-steps 4 (it was 3)",
        "resuming with threads 2 (it was 1): the last digits may differ",
    ]


@pytest.mark.parametrize(
    ("flags", "capability", "precision"),
    [
        ((), (9, 0), "fp16"),
        (("--preset", "gpu"), (7, 0), "fp16"),
        (("--preset", "gpu"), (6, 1), "float32"),
        (("--no-tf32",), (9, 0), "float32"),
        (("--optimizer", "rmsprop"), (9, 0), "float32"),
        (("--precision", "bf16"), (9, 0), "bf16"),
    ],
)
def test_a_gpu_computes_in_fp16_unless_more_is_wanted(
    flags: tuple[str, ...], capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert wanted_precision(parse(flags, "gpu")) == precision


@pytest.mark.parametrize("fast", [False, True])
def test_a_processor_computes_a_plan_in_bf16_where_that_is_faster_and_a_preset_in_float32(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(preparation, "has_fast_bf16", lambda: fast)
    assert wanted_precision(parse((), "laptop")) == ("bf16" if fast else "float32")
    for flags in (("--preset", "laptop"), ("--max-steps", "9"), ("--preset", "laptop", "--minutes", "1")):
        assert wanted_precision(parse(flags, "laptop")) == "float32"


def test_where_the_gradients_of_bf16_are_wrong_a_model_learns_in_float32_and_it_is_said(
    train: Train, text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = quiet(text_file, "--max-steps", "6", "--log-every", "1")
    assert train(*flags, "--precision", "float32", "--run-dir", "exact") == 0
    assert "in float32" not in capsys.readouterr().out
    monkeypatch.setattr(accelerator, "_computes_bf16", lambda: True)
    monkeypatch.setattr(step, "learns_in_bf16", lambda num_cells: num_cells != 32)
    assert train(*flags, "--precision", "bf16", "--run-dir", "run") == 0
    said = "in float32: this processor's bf16 gives models of 32 cells wrong gradients\n"
    assert said in capsys.readouterr().out
    exact, rows = ([row["train_loss"] for row in rows_of(Path(name, "metrics.jsonl"))] for name in ("exact", "run"))
    assert rows == exact
    assert train("--run-dir", "run", "--resume", "--max-steps", "8") == 0
    captured = capsys.readouterr()
    assert said in captured.out
    assert "mixed precision" not in captured.err


def test_a_run_of_a_gpu_goes_on_without_one_as_the_error_says(
    train: Train, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = quiet(text_file, "--run-dir", "run")
    assert train(*flags, "--max-steps", "2") == 0
    config = Path("run/config.json")
    config.write_text(config.read_text().replace('"precision": "float32"', '"precision": "fp16"'))
    again = ("--run-dir", "run", "--resume", "--max-steps", "3")
    assert train(*again) == 1
    advice = "--precision float32"
    assert f"--precision fp16: there is none on cpu: give {advice}" in capsys.readouterr().err
    assert train(*again, *advice.split()) == 0


@pytest.mark.slow
def test_bf16_is_refused_in_one_line_where_the_processor_has_none(text_file: Path) -> None:
    # The instruction sets that oneDNN may use can be limited, which makes any processor an old one; what the launcher
    # sets for --mixed_precision is set without it.
    old = ["env", "CUDA_VISIBLE_DEVICES=", "ONEDNN_MAX_CPU_ISA=AVX2", "ACCELERATE_MIXED_PRECISION=bf16"]
    refused = run([*old, *DIRECT], *quiet(text_file, "--max-steps", "5", "--run-dir", "old"), code=1)
    assert "this CPU has no bf16 instructions" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not Path("old").exists()


def test_a_full_disk_is_one_line_and_leaves_older_checkpoints(
    train: Train, text_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        flags = quiet(
            text_file, "--max-steps", "200", "--checkpoint-every", "20", "--keep", "100", "--val-fraction", "0"
        )
        assert train(*flags, "--run-dir", disk / "run") == 1
        said = capfd.readouterr().err
        assert "the disk is full" in said
        assert "Traceback" not in said
        kept = sorted((disk / "run" / "checkpoints").iterdir())
        assert kept
        assert all(path.name.startswith("step-") for path in kept)
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert train(*flags, "--run-dir", disk / "run", "--resume") == 0
        assert status(disk / "run")["state"] == "finished"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_andersens_fairy_tales_from_a_mirror(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = SHARED / "mirror"
    if not mirror.exists():
        pytest.skip(f"{mirror} is not here")
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", mirror, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        monkeypatch.setenv("CHARRNN_GUTENBERG_MIRROR", f"http://127.0.0.1:{port}")
        flags = (*SMALL, "--tracker", "none", "--corpus", "gutenberg:1597", "--max-steps", "20", "--run-dir", "run")
        assert train(*flags) == 0
        capsys.readouterr()
        assert main(["corpora", "show", "gutenberg:1597"]) == 0
        text = capsys.readouterr().out
    finally:
        server.kill()
        server.communicate()
    assert "gutenberg" not in text.lower()
    assert text.startswith("ANDERSEN'S FAIRY TALES\n")
    assert text.endswith(" RED SHOES.\n")
    assert len(text) > 290_000


@pytest.mark.slow
def test_the_package_builds_with_its_plugins(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(root)])
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("plugins/gutenberg/book.py") for name in names)


@pytest.mark.slow
def test_fine_tuning_that_was_killed_early_starts_from_the_model_again(train: Train, text_file: Path) -> None:
    assert train(*quiet(text_file, "--epochs", "2", "--run-dir", "base")) == 0
    flags = ("--corpus", f"files:{text_file}", "--tracker", "none", "--batch-size", "8", "--num-threads", "1")
    flags = (*flags, "--log-every", "1", "--init-from", "base", "--run-dir", "tuned")
    process = start(DIRECT, *flags, "--checkpoint-minutes", "0", "--max-steps", "100000")
    wait_until(lambda: len(rows_of(Path("tuned/metrics.jsonl"))) > 2, process)
    process.kill()
    process.communicate()
    begun = rows_of(Path("tuned/metrics.jsonl"))[0]["train_loss"]
    assert not list(Path("tuned").glob("checkpoints/step-*"))
    assert train(*flags, "--max-steps", "100", "--resume") == 0
    assert rows_of(Path("tuned/metrics.jsonl"))[0]["train_loss"] == pytest.approx(begun, rel=1e-5)


def test_a_start_that_failed_leaves_no_text_for_the_next(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    Path("word.py").write_text(
        "import charrnn\n"
        "@charrnn.hookimpl\n"
        "def register_corpora(register):\n    register('word', word)\n"
        "def word(argument):\n    'word:WORD, many times.'\n    yield f'{argument} ' * 500\n"
    )
    flags = (*SMALL, "--tracker", "none", "--plugin", "word", "--run-dir", "run", "--max-steps", "2")
    assert train(*flags, "--corpus", "word:old", "--batch-size", "5000") == 1
    assert train(*flags, "--corpus", "word:new") == 0
    assert "word:old" not in capfd.readouterr().out
    assert "o" not in json.loads(Path("run/vocab.json").read_text())["characters"]


@pytest.mark.slow
def test_torchrun_does_not_resume_a_run_that_was_refused(train: Train, text_file: Path) -> None:
    assert train(*quiet(text_file, "--max-steps", "3", "--run-dir", "run")) == 0
    before = status(Path("run"))
    done = run(torchrun(2, "--max-restarts", "1"), *quiet(text_file, "--max-steps", "9", "--run-dir", "run"), code=1)
    assert "holds a run already" in done.stderr
    assert status(Path("run")) == before
