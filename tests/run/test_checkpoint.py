"""Checkpoints: what goes on from one goes on bit for bit, and a damaged one is noticed, kept aside and passed over."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from charrnn.config.settings import Optimizer
from charrnn.errors import CheckpointError, VocabularyError
from charrnn.model.folder import MODEL_FILES, load_model, restore_model
from charrnn.model.lstm import CharLSTM
from charrnn.run import checkpoint, finding
from charrnn.run.checkpoint import FORMAT
from charrnn.text.vocab import Vocabulary
from charrnn.training.job import circumstances
from charrnn.training.optimizer import make_optimizer
from charrnn.training.state import TrainingState
from charrnn.training.step import Learner, StepResult

VOCAB = Vocabulary("\nabcde")
FILES = (*MODEL_FILES, "training.json", "training.safetensors", "manifest.json")

pytestmark = pytest.mark.usefixtures("one_thread")


class Trainer:
    """A small training whose every step is a function of its number."""

    def __init__(self, optimizer: str = "adamw", vocab: Vocabulary = VOCAB, **shape: Any) -> None:
        torch.manual_seed(0)
        self.vocab = vocab
        self.model = CharLSTM(len(vocab), **{"hidden_size": 8, "num_layers": 2, "embedding_size": 4, **shape})
        self.optimizer = make_optimizer(optimizer, self.model.parameters(), 0.01, 0.01)
        self.state = TrainingState.at_start(Learner(Accelerator(cpu=True), self.model, self.optimizer), range(3), 3)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            x_TB = torch.randint(len(self.vocab), (5, 3), generator=torch.Generator().manual_seed(self.state.step))
            logits_TBV, (h, c) = self.model(x_TB, self.state.state)
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits_TBV.flatten(0, 1), x_TB.roll(-1, 0).flatten()).backward()
            self.optimizer.step()
            nothing = torch.zeros(())
            self.state.advance(StepResult((h.detach(), c.detach()), nothing, nothing, nothing, nothing), 5)

    def save(self, parent: Path, val_loss: float | None = None) -> Path:
        state = self.state.state_dict() | {"val_loss": val_loss}
        return checkpoint.save_checkpoint(parent, self.model, self.vocab, "a card", state)

    def restore(self, folder: Path) -> dict[str, Any]:
        saved = checkpoint.read_state(folder)
        restore_model(folder, self.model, self.vocab)
        self.state.load_state_dict(saved)
        return saved

    def everything(self) -> dict[str, Tensor]:
        state = self.state.state_dict()
        return {
            **self.model.state_dict(),
            **{name: value for name, value in state.items() if isinstance(value, Tensor)},
        }


def three_checkpoints(parent: Path) -> list[Path]:
    trainer, folders = Trainer(), []
    for _ in range(3):
        trainer.train(1)
        folders.append(trainer.save(parent))
    return folders


def assert_identical(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor, other[name]), name


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Going on.


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_circumstances_of_any_device_can_be_read_again(device: str, tmp_path: Path) -> None:
    trainer = Trainer()
    # There need be no such device: on a GPU the number of threads does not matter, and is not there.
    accelerator = SimpleNamespace(device=torch.device(device), num_processes=1, mixed_precision="no")
    now = circumstances(Learner(cast(Accelerator, accelerator), trainer.model, trainer.optimizer))
    state = trainer.state.state_dict() | {"circumstances": now}
    folder = checkpoint.save_checkpoint(tmp_path, trainer.model, trainer.vocab, "a card", state)
    assert checkpoint.read_training(folder)["circumstances"] == now


def test_the_scaler_of_a_loss_goes_on(tmp_path: Path) -> None:
    trainer = Trainer()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=7)
    state = trainer.state.state_dict() | {"scaler": scaler.state_dict()}
    folder = checkpoint.save_checkpoint(tmp_path, trainer.model, trainer.vocab, "a card", state)
    saved = checkpoint.read_training(folder)["scaler"]
    assert {name: (value, type(value)) for name, value in saved.items()} == {
        name: (value, type(value)) for name, value in scaler.state_dict().items()
    }


@pytest.mark.parametrize("name", get_args(Optimizer))
@pytest.mark.parametrize("shape", [{}, {"embedding_size": 8, "tie_weights": True}, {"embedding_size": 0}])
def test_training_goes_on_as_if_it_had_never_stopped(name: str, shape: dict[str, Any], tmp_path: Path) -> None:
    unbroken = Trainer(name, **shape)
    unbroken.train(7)
    folder = unbroken.save(tmp_path, val_loss=1.5)
    resumed = Trainer(name, **shape)
    training = resumed.restore(folder)
    assert (training["step"], training["time"], training["val_loss"]) == (7, 35, 1.5)
    assert_identical(resumed.everything(), unbroken.everything())
    for trainer in (unbroken, resumed):
        trainer.train(5)
    assert_identical(resumed.everything(), unbroken.everything())


def test_a_checkpoint_before_the_first_step_can_be_gone_on_from(tmp_path: Path) -> None:
    unbroken, resumed = Trainer(), Trainer()
    resumed.restore(unbroken.save(tmp_path))
    for trainer in (unbroken, resumed):
        trainer.train(3)
    assert_identical(resumed.everything(), unbroken.everything())


def test_what_is_undone_outlives_a_gradient_that_overflowed(tmp_path: Path) -> None:
    # JSON has no word for it, and what is null is nothing to do.
    stopped, resumed = Trainer(), Trainer()
    stopped.train(1)
    stopped.state.undone = torch.tensor(torch.inf)
    resumed.restore(stopped.save(tmp_path))
    assert resumed.state.undone is not None
    assert torch.equal(resumed.state.undone, torch.tensor(torch.inf))


def test_a_checkpoint_is_a_folder_of_plain_files(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.train(1)
    folder = trainer.save(tmp_path / "run")
    assert folder == tmp_path / "run" / "step-000000001"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert list((tmp_path / "run").iterdir()) == [folder]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES if name != "manifest.json"
    }
    assert (folder / "README.md").read_text() == "a card"
    checkpoint.verify(folder)


def test_a_step_that_is_saved_again_is_whole(tmp_path: Path) -> None:
    trainer = Trainer()
    trainer.train(1)
    trainer.save(tmp_path)
    folder = trainer.save(tmp_path, val_loss=1.0)
    checkpoint.verify(folder)
    assert checkpoint.read_training(folder)["val_loss"] == 1.0


def test_the_model_half_is_a_model_for_the_hub(tmp_path: Path) -> None:
    trainer = Trainer(embedding_size=8, tie_weights=True)
    trainer.train(2)
    folder = trainer.save(tmp_path)
    model, vocab = load_model(folder)
    assert vocab == VOCAB
    assert_identical(model.state_dict(), trainer.model.state_dict())
    assert_identical(CharLSTM.from_pretrained(str(folder)).state_dict(), trainer.model.state_dict())


# Damage.


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, empty, flip, Path.unlink, replace_by_folder])
def test_a_damaged_checkpoint_is_kept_aside_and_passed_over(
    name: str, damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, before, newest = three_checkpoints(tmp_path)
    (newest / "marker").write_text("kept")
    damage(newest / name)
    if name == "manifest.json" and damage is truncate:
        truncate(newest / name)  # the last byte is but a line's end
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify(newest)
    # A byte that is flipped in the manifest may be in the name or the checksum of another file.
    assert name in one_line(caught) or name == "manifest.json"
    with caplog.at_level(logging.WARNING):
        assert finding.latest(tmp_path) == before
    assert len(caplog.records) == 1
    assert "damaged-step-000000003" in caplog.text
    assert str(newest) in caplog.text
    assert (tmp_path / "damaged-step-000000003" / "marker").read_text() == "kept"
    assert not newest.exists()
    resumed = Trainer()
    resumed.restore(before)
    assert resumed.state.step == 2


def test_two_damaged_ones_are_both_passed_over(tmp_path: Path) -> None:
    first, second, third = three_checkpoints(tmp_path)
    flip(second / "model.safetensors")
    (third / "manifest.json").unlink()
    assert finding.latest(tmp_path) == first
    assert {path.name for path in tmp_path.glob("damaged-*")} == {"damaged-step-000000002", "damaged-step-000000003"}


def test_a_damaged_one_of_the_same_step_does_not_stand_in_the_way(tmp_path: Path) -> None:
    for _ in range(2):
        newest = three_checkpoints(tmp_path)[-1]
        flip(newest / "training.json")
        assert finding.latest(tmp_path) == tmp_path / "step-000000002"


def test_no_checkpoints_are_none(tmp_path: Path) -> None:
    assert finding.latest(tmp_path / "nothing") is None
    assert finding.checkpoints(tmp_path) == []


def test_only_whole_names_are_checkpoints_newest_first(tmp_path: Path) -> None:
    for name in ("step-000000009", "step-000000010", "step-1", ".writing-step-000000011", "damaged-step-000000012"):
        (tmp_path / name).mkdir()
    assert [path.name for path in finding.checkpoints(tmp_path)] == ["step-000000010", "step-000000009"]


def test_half_written_checkpoints_are_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".writing-step-000000007" / "deep").mkdir(parents=True)
    three_checkpoints(tmp_path)
    assert not list(tmp_path.glob(".writing-*"))


# Strangers.


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "sub/file"])
def test_a_manifest_names_only_files_of_its_own_folder(name: str, tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    (tmp_path / "secret").write_text("secret")
    rewrite_manifest(folder, sha256={name: hashlib.sha256(b"secret").hexdigest()})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify(folder)
    one_line(caught)


@pytest.mark.parametrize("listed", [{}, {"README.md": hashlib.sha256(b"a card").hexdigest()}])
def test_a_manifest_that_leaves_files_out_is_damaged(listed: dict[str, str], tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    rewrite_manifest(folder, sha256=listed)
    with pytest.raises(CheckpointError):
        checkpoint.verify(folder)


@pytest.mark.parametrize(
    "content", ["[]", "null", "{}", f'{{"format": {FORMAT}}}', f'{{"format": {FORMAT}, "sha256": 3}}']
)
def test_a_manifest_of_another_shape_is_damaged(content: str, tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    (folder / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged") as caught:
        checkpoint.verify(folder)
    one_line(caught)


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    folders = three_checkpoints(tmp_path)
    for folder in folders:
        rewrite_manifest(folder, format=FORMAT + 1)
    with pytest.raises(CheckpointError, match=f"has format {FORMAT + 1}; this version reads format {FORMAT}"):
        checkpoint.verify(folders[-1])
    # It is whole, only this program is too old for it: to rename it and start afresh would be to lose the run.
    with pytest.raises(CheckpointError, match=f"format {FORMAT + 1}"):
        finding.latest(tmp_path)
    assert all(folder.is_dir() for folder in folders)


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [True, False], ids=["pickle", "torch.save"])
def test_a_pickle_in_disguise_is_refused_and_never_unpickled(legacy: bool, tmp_path: Path) -> None:
    folder, harm = three_checkpoints(tmp_path / "run")[-1], tmp_path / "harm"
    pickle.loads(pickle.dumps(Bomb(harm)))
    assert harm.exists(), "the pickle does harm when loaded"
    harm.unlink()
    for name in ("model.safetensors", "training.safetensors"):
        if legacy:
            (folder / name).write_bytes(pickle.dumps(Bomb(harm)))
        else:
            torch.save(Bomb(harm), folder / name)
    for read in (load_model, checkpoint.read_state, Trainer().restore):
        with pytest.raises(CheckpointError) as caught:
            read(folder)
        one_line(caught)
    assert not harm.exists()


@pytest.mark.parametrize("content", ["", "[]", "3", "null", "{", "{}", "\udcff"])
def test_json_of_another_shape_is_told_in_one_line(content: str, tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    for name in ("config.json", "training.json"):
        (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    for read in (load_model, checkpoint.read_training):
        with pytest.raises(CheckpointError) as caught:
            read(folder)
        assert str(folder) in one_line(caught)


# Another text, another model.


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Vocabulary("\nabcdef"), "1 character only here, such as 'f'"),
        (Vocabulary("\nabcd"), "1 character only there, such as 'e'"),
        (Vocabulary("\nabcxy"), "2 characters only there, such as 'd'; 2 characters only here, such as 'x'"),
        (Vocabulary("\nabcde", has_unknown=True), "<unk> here alone"),
    ],
)
def test_another_vocabulary_is_told_with_the_difference(other: Vocabulary, difference: str, tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    with pytest.raises(VocabularyError, match="another vocabulary") as caught:
        Trainer(vocab=other).restore(folder)
    assert "".join(one_line(caught).split(": ", 1)[1:]) == difference


@pytest.mark.parametrize(
    ("shape", "weight"),
    [
        ({"hidden_size": 9}, "lstms.0.bias_hh_l0 is (32,) there, (36,) here"),
        ({"num_layers": 1}, "lstms.1.bias_hh_l0 is (32,) there, None here"),
        ({"embedding_size": 0}, "embedding.weight is (6, 4) there, None here"),
    ],
)
def test_another_model_is_told_with_the_difference(shape: dict[str, Any], weight: str, tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    trainer = Trainer(**shape)
    before = {name: tensor.clone() for name, tensor in trainer.everything().items()}
    with pytest.raises(CheckpointError, match="another model") as caught:
        trainer.restore(folder)
    assert weight in one_line(caught)
    assert_identical(trainer.everything(), before)


def test_a_tied_model_is_another_than_an_untied_one(tmp_path: Path) -> None:
    tied = Trainer(embedding_size=8, tie_weights=True)
    tied.train(1)
    folder = tied.save(tmp_path)
    with pytest.raises(CheckpointError, match="tie"):
        Trainer(embedding_size=8).restore(folder)


def test_a_vocabulary_of_another_size_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    Vocabulary("ab").save(folder / "vocab.json")
    with pytest.raises(CheckpointError, match="the model has 6 characters, its vocabulary 2"):
        load_model(folder)


# Which are kept, and which is meant.


def saved_with_losses(parent: Path, losses: list[float | None], keep: int | None = None) -> list[str]:
    trainer = Trainer()
    for loss in losses:
        trainer.train(1)
        trainer.save(parent, val_loss=loss)
        if keep is not None:
            finding.retain(parent, keep)
    return [path.name[-1] for path in finding.checkpoints(parent)]


@pytest.mark.parametrize(
    ("losses", "keep", "left"),
    [
        ([3.0, 1.0, 2.0, 2.5], 1, ["4", "2"]),
        ([3.0, 1.0, 2.0, 2.5], 2, ["4", "3", "2"]),
        ([3.0, 2.0, 1.0], 1, ["3"]),
        ([3.0, 2.0, 1.0], 0, ["3"]),
        ([None, None, None], 1, ["3"]),
        ([1.0, None, None], 1, ["3", "1"]),
        ([3.0, 2.0], 9, ["2", "1"]),
    ],
)
def test_the_latest_and_the_best_are_kept(
    losses: list[float | None], keep: int, left: list[str], tmp_path: Path
) -> None:
    assert saved_with_losses(tmp_path, losses, keep) == left
    assert all("writing" not in path.name for path in tmp_path.iterdir())


def test_an_older_checkpoint_that_cannot_be_read_does_not_end_a_run(tmp_path: Path) -> None:
    saved_with_losses(tmp_path, [1.0, 2.0])
    (tmp_path / "step-000000001" / "training.json").write_text("torn")
    finding.retain(tmp_path, 1)
    assert (tmp_path / "step-000000002").is_dir()


def test_a_run_means_its_best_checkpoint_or_its_last(tmp_path: Path) -> None:
    saved_with_losses(tmp_path / "checkpoints", [3.0, 1.0, 2.0])
    assert finding.find_model(tmp_path).name == "step-000000002"
    assert finding.find_model(tmp_path, "best").name == "step-000000002"
    assert finding.find_model(tmp_path, "last").name == "step-000000003"


def test_a_run_without_validation_means_its_last_checkpoint(tmp_path: Path) -> None:
    saved_with_losses(tmp_path / "checkpoints", [None, None])
    assert finding.find_model(tmp_path).name == "step-000000002"


def test_a_loss_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    saved_with_losses(tmp_path, [1.0, float("nan")])
    assert finding.best(tmp_path) == tmp_path / "step-000000001"


def test_a_checkpoint_or_an_exported_model_means_itself(tmp_path: Path) -> None:
    folder = three_checkpoints(tmp_path)[-1]
    assert finding.find_model(folder) == folder
    exported = tmp_path / "exported"
    exported.mkdir()
    for name in MODEL_FILES:
        shutil.copyfile(folder / name, exported / name)
    assert finding.find_model(exported, "last") == exported


def test_a_damaged_checkpoint_is_not_given_out_as_the_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved_with_losses(tmp_path / "checkpoints", [2.0, 1.0])
    flip(tmp_path / "checkpoints" / "step-000000002" / "model.safetensors")
    assert finding.find_model(tmp_path).name == "step-000000001"
    assert "model.safetensors is not what was written" in caplog.text
    flip(tmp_path / "checkpoints" / "step-000000001" / "model.safetensors")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        finding.find_model(tmp_path)


def test_a_folder_without_checkpoints_is_told_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(CheckpointError, match="is it the folder of a run") as caught:
            finding.find_model(folder)
        one_line(caught)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_model(tmp_path)


# A disk that does not take it.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_older_checkpoints_alone(small_disk: Path) -> None:
    trainer = Trainer(hidden_size=16)
    saved, caught = [], None
    while caught is None:
        trainer.train(1)
        try:
            saved.append(trainer.save(small_disk / "checkpoints"))
        except CheckpointError as error:
            caught = error
    assert "the disk is full: make room" in str(caught)
    assert "\n" not in str(caught)
    assert saved
    assert sorted((small_disk / "checkpoints").iterdir()) == saved
    assert finding.latest(small_disk / "checkpoints") == saved[-1]
    # With room again, the same save works.
    shutil.rmtree(saved[0])
    checkpoint.verify(trainer.save(small_disk / "checkpoints"))


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot save") as caught:
        Trainer().save(tmp_path / "checkpoints")
    one_line(caught)
