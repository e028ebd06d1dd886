"""What only a GPU can show: no waiting in a step, the CPU's losses, mixed precision, exactness after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from charrnn.training import loop
from charrnn.training.job import Job
from charrnn.training.step import StepResult
from tests.conftest import DIRECT, SMALL, rows_of, run, torchrun
from tests.test_exact import FLAGS, assert_same_run, kill_at
from tests.test_train import Train, train

__all__ = ["train"]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

QUIET = (*SMALL, "--preset", "laptop", "--tracker", "none")
ROADS = pytest.mark.parametrize("road", [("--no-cuda-graphs",), ()], ids=["eager", "graphs"])


def losses(run_dir: Path) -> list[float]:
    return [row["train_loss"] for row in rows_of(run_dir / "metrics.jsonl")]


@pytest.mark.filterwarnings("ignore:RNN module weights:UserWarning", "ignore:Synchronization debug mode:UserWarning")
@pytest.mark.parametrize(
    "flags",
    [(), ("--drop-connect", "0.2"), ("--num-layers", "2"), ("--optimizer", "rmsprop", "--learning-rate", "1e-3")],
    ids=["plain", "dropped", "layers", "rmsprop"],
)
@ROADS
def test_a_step_never_waits_for_the_gpu(
    road: tuple[str, ...], flags: tuple[str, ...], train: Train, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step, watched = loop.take_step, []

    def watch(job: Job, save_due: bool) -> StepResult:
        # The first steps set up what later ones use.
        if job.state.step < 3:
            return take_step(job, save_due)
        watched.append(job.state.step)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return take_step(job, save_due)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "take_step", watch)
    flags = (*flags, *road, "--max-steps", "40", "--state-drop", "0.2")
    assert train(*QUIET, "--corpus", f"files:{text_file}", *flags) == 0
    assert watched == list(range(3, 40))


def test_losses_on_a_gpu_are_those_of_the_cpu(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Dropout is drawn by the device's own generator, and first weights and dropped states by the CPU's.
    flags = (*QUIET, "--corpus", f"files:{text_file}", "--dropout", "0", "--log-every", "1", "--no-tf32")
    flags += ("--max-steps", "60")
    run(DIRECT, *flags, "--run-dir", "gpu", "--no-cuda-graphs")
    run(DIRECT, *flags, "--run-dir", "graphs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run(DIRECT, *flags, "--run-dir", "cpu")
    assert losses(Path("gpu")) == pytest.approx(losses(Path("cpu")), rel=2e-3)
    assert losses(Path("graphs")) == pytest.approx(losses(Path("cpu")), rel=2e-3)


@pytest.mark.parametrize("precision", ["float32", "fp16"])
@pytest.mark.parametrize("flags", [(), ("--num-layers", "2", "--drop-connect", "0.2")], ids=["plain", "dropped"])
def test_both_roads_have_the_same_losses(flags: tuple[str, ...], precision: str, train: Train, text_file: Path) -> None:
    flags = (*QUIET, *flags, "--corpus", f"files:{text_file}", "--log-every", "1", "--max-steps", "100")
    flags += ("--deterministic", "--state-drop", "0.2", "--precision", precision)
    assert train(*flags, "--run-dir", "eager", "--no-cuda-graphs") == 0
    assert train(*flags, "--run-dir", "graphs") == 0
    tolerance = {"float32": 1e-4, "fp16": 2e-3}[precision]
    assert losses(Path("graphs")) == pytest.approx(losses(Path("eager")), rel=tolerance)


@ROADS
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_as_well(precision: str, road: tuple[str, ...], train: Train, text_file: Path) -> None:
    flags = (*QUIET, "--corpus", f"files:{text_file}", "--learning-rate", "3e-3", "--log-every", "50")
    flags += ("--max-steps", "200")
    for each in ("float32", precision):
        assert train(*flags, *road, "--precision", each, "--run-dir", each) == 0
    whole, mixed = losses(Path("float32")), losses(Path(precision))
    assert mixed == pytest.approx(whole, rel=0.03)
    assert mixed[-1] < mixed[0] - 0.3
    assert "Infinity" not in (Path(precision) / "metrics.jsonl").read_text()


@ROADS
def test_a_killed_run_resumes_bit_for_bit(road: tuple[str, ...], text_file: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, *road, "--deterministic", "--corpus", f"files:{text_file}")
    run(DIRECT, *flags, "--run-dir", tmp_path / "unbroken")
    kill_at(DIRECT, tmp_path / "run", 170, *flags, "--run-dir", tmp_path / "run")
    run(DIRECT, *flags, "--run-dir", tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "unbroken", tmp_path / "run")


@pytest.mark.slow
def test_one_process_of_torchrun_with_nccl_is_one_without(text_file: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--deterministic", "--max-steps", "130", "--corpus", f"files:{text_file}")
    run(DIRECT, *flags, "--run-dir", tmp_path / "alone")
    kill_at(torchrun(1), tmp_path / "run", 70, *flags, "--run-dir", tmp_path / "run")
    run(torchrun(1), *flags, "--run-dir", tmp_path / "run", "--resume")
    assert_same_run(tmp_path / "alone", tmp_path / "run")


@pytest.mark.slow
@ROADS
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_a_gpu_learn_as_one(processes: int, road: tuple[str, ...], text_file: Path) -> None:
    # NCCL wants a GPU for each; gloo sums what lies on one.
    Path("trainer.py").write_text(
        "import os, sys\n"
        "import torch.distributed as dist\n"
        "import charrnn.train\n"
        "os.environ['LOCAL_RANK'] = '0'\n"
        "dist.init_process_group('gloo')\n"
        "sys.exit(charrnn.train.main())\n"
    )
    flags = (*QUIET, *road, "--corpus", f"files:{text_file}", "--log-every", "1", "--max-steps", "100", "--no-tf32")
    run(DIRECT, *flags, "--run-dir", "one")
    *launcher, _, _ = torchrun(processes)
    run([*launcher, "trainer.py"], *flags, "--run-dir", "several")
    assert losses(Path("several")) == pytest.approx(losses(Path("one")), rel=1e-4)
