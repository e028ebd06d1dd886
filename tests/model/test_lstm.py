"""The model: one long reading or many short ones, its masks, its shared weights, and its way to disk and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from charrnn.model.lstm import CharLSTM

SHAPES = [
    pytest.param({"hidden_size": 12, "num_layers": 1, "embedding_size": 5}, id="one layer"),
    pytest.param({"hidden_size": 12, "num_layers": 3, "embedding_size": 5}, id="three layers"),
    pytest.param({"hidden_size": 12, "num_layers": 2, "embedding_size": 12, "tie_weights": True}, id="tied"),
    pytest.param({"hidden_size": 12, "num_layers": 2, "embedding_size": 0}, id="one-hot"),
]
VOCAB = 7

pytestmark = pytest.mark.usefixtures("one_thread")


def make(**shape: int | bool) -> CharLSTM:
    torch.manual_seed(0)
    return CharLSTM(VOCAB, **shape)  # type: ignore[arg-type]


def characters(length: int, num_rows: int) -> torch.Tensor:
    return torch.randint(VOCAB, (length, num_rows), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_is_read_as_its_characters_one_by_one(shape: dict[str, int]) -> None:
    model, x_TB = make(**shape), characters(9, 4)
    logits_TBV, state = model(x_TB, model.zero_state(4))
    assert logits_TBV.shape == (9, 4, VOCAB)
    assert state[0].shape == state[1].shape == (shape["num_layers"], 4, 12)
    one_by_one, handed_on = [], model.zero_state(4)
    for x_B in x_TB:
        logits_1BV, handed_on = model(x_B[None], handed_on)
        one_by_one.append(logits_1BV)
    torch.testing.assert_close(torch.cat(one_by_one), logits_TBV, rtol=0, atol=1e-6)
    torch.testing.assert_close(handed_on, state, rtol=0, atol=1e-6)


def test_rows_do_not_see_each_other() -> None:
    model, x_TB = make(hidden_size=12, num_layers=2, embedding_size=5), characters(6, 3)
    whole, _ = model(x_TB, model.zero_state(3))
    for row in range(3):
        alone, _ = model(x_TB[:, [row]], model.zero_state(1))
        torch.testing.assert_close(alone[:, 0], whole[:, row], rtol=0, atol=1e-6)


def test_the_state_that_is_given_is_left_alone() -> None:
    model = make(hidden_size=12)
    state = model.zero_state(2)
    model(characters(3, 2), state)
    assert not state[0].any()
    assert not state[1].any()


def test_masks_hold_over_the_window_on_what_each_layer_gives() -> None:
    model, x_TB = make(hidden_size=12, num_layers=2, embedding_size=5), characters(8, 3)
    masks = model.dropout_masks(3, 0.4, torch.Generator().manual_seed(2))
    assert [mask.shape for mask in masks] == [(3, 12), (3, 12)]
    first, second = model.lstms
    assert model.embedding is not None
    between_TBH, _ = first(model.embedding(x_TB))
    last_TBH, _ = second(between_TBH * masks[0])
    expected = model.output(last_TBH * masks[1])
    logits_TBV, _ = model(x_TB, model.zero_state(3), masks)
    torch.testing.assert_close(logits_TBV, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.9])
def test_masks_drop_a_share_and_keep_the_mean(dropout: float) -> None:
    model = make(hidden_size=100, num_layers=2, embedding_size=5)
    values = torch.cat([mask.flatten() for mask in model.dropout_masks(200, dropout, torch.Generator().manual_seed(0))])
    torch.testing.assert_close(values.unique(), torch.tensor([0.0, 1 / (1 - dropout)] if dropout else [1.0]))
    assert abs(float((values == 0).float().mean()) - dropout) < 0.01
    assert abs(float(values.mean()) - 1) < 0.03


@pytest.mark.parametrize("share", [0.0, 0.2, 0.99])
def test_drop_connect_leaves_out_a_share_and_keeps_the_mean(share: float) -> None:
    model, x_TB = make(hidden_size=101, num_layers=2, embedding_size=5), characters(8, 3)
    factors = model.drop_connect(share, torch.Generator().manual_seed(0))
    assert [factor.shape for factor in factors] == [(404, 101), (404, 101)]
    assert not share or not torch.equal(*factors)
    values = torch.cat([factor.flatten() for factor in factors])
    dropped = round(256 * share) / 256
    assert dropped == pytest.approx(share, abs=1 / 512)
    torch.testing.assert_close(values.unique(), torch.tensor([0.0, 1 / (1 - dropped)] if share else [1.0]))
    assert float((values == 0).float().mean()) == pytest.approx(dropped, abs=0.01)
    # All bytes of a drawn number count alike.
    assert (values[:81_600].view(-1, 8) == 0).float().mean(0).tolist() == pytest.approx([dropped] * 8, abs=0.02)
    with model.multiplied(factors):
        logits_TBV, _ = model(x_TB, model.zero_state(3))
        torch.autograd.backward(logits_TBV.sum())
    for lstm, factor in zip(model.lstms, factors, strict=True):
        assert not lstm.weight_hh_l0.grad[factor == 0].any()
        assert share == 0.99 or lstm.weight_hh_l0.grad[factor != 0].any()
        with torch.no_grad():
            lstm.weight_hh_l0.mul_(factor)
    torch.testing.assert_close(model(x_TB, model.zero_state(3))[0], logits_TBV, rtol=0, atol=1e-6)


def test_a_row_reads_alike_with_its_slice_of_the_masks() -> None:
    model, x_TB = make(hidden_size=12, num_layers=2, embedding_size=5), characters(8, 6)
    masks = model.dropout_masks(6, 0.5, torch.Generator().manual_seed(0))
    whole, _ = model(x_TB, model.zero_state(6), masks)
    share, _ = model(x_TB[:, 2:5], model.zero_state(3), [mask[2:5] for mask in masks])
    torch.testing.assert_close(share, whole[:, 2:5], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_forget_gates_of_one_hot_and_tied_models_begin_with_a_bias_of_1(shape: dict[str, int]) -> None:
    expected = float(shape["embedding_size"] == 0 or "tie_weights" in shape)
    for lstm in make(**shape).lstms:
        assert torch.equal((lstm.bias_ih_l0 + lstm.bias_hh_l0)[12:24], torch.full((12,), expected))


def test_an_embedding_gives_the_gates_inputs_of_standard_deviation_2_at_first() -> None:
    torch.manual_seed(0)
    model = CharLSTM(200, hidden_size=100, embedding_size=40)
    assert model.embedding is not None
    inputs = model.embedding.weight @ model.lstms[0].get_parameter("weight_ih_l0").T
    assert inputs.std().item() == pytest.approx(2.0, abs=0.1)


def test_tied_weights_are_one_tensor() -> None:
    model = make(hidden_size=12, embedding_size=12, tie_weights=True)
    assert model.embedding is not None
    assert model.output.weight is model.embedding.weight
    assert len(list(model.parameters())) == 1 + 4 + 1


@pytest.mark.parametrize("embedding_size", [0, 5])
def test_tied_weights_of_different_sizes_are_refused(embedding_size: int) -> None:
    with pytest.raises(ValueError, match=f"embedding_size {embedding_size} == hidden_size 12"):
        make(hidden_size=12, embedding_size=embedding_size, tie_weights=True)


def test_one_hot_is_an_embedding_of_the_identity() -> None:
    one_hot = make(hidden_size=12, num_layers=2, embedding_size=0)
    embedded = make(hidden_size=12, num_layers=2, embedding_size=VOCAB)
    embedded.load_state_dict(one_hot.state_dict() | {"embedding.weight": torch.eye(VOCAB)})
    x_TB = characters(8, 3)
    expected, _ = embedded(x_TB, embedded.zero_state(3))
    logits_TBV, _ = one_hot(x_TB, one_hot.zero_state(3))
    torch.testing.assert_close(logits_TBV, expected, rtol=0, atol=1e-6)


def test_one_model_learns_a_text_by_heart() -> None:
    model = make(hidden_size=24, embedding_size=8)
    x_TB = characters(20, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        logits_TBV, _ = model(x_TB[:-1], model.zero_state(1))
        loss = F.cross_entropy(logits_TBV.flatten(0, 1), x_TB[1:].flatten())
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_model_comes_back_bit_for_bit(shape: dict[str, int], tmp_path: Path) -> None:
    model = make(**shape)
    model.save_pretrained(tmp_path)
    assert {"vocab_size": VOCAB, **shape}.items() <= json.loads((tmp_path / "config.json").read_text()).items()
    # Without its own arguments: the folder alone says what the model is.
    loaded = CharLSTM.from_pretrained(str(tmp_path))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    if shape.get("tie_weights"):
        assert loaded.embedding is not None
        assert loaded.output.weight is loaded.embedding.weight


def test_weights_in_one_block_of_memory_are_saved_too(tmp_path: Path) -> None:
    model = make(hidden_size=12, num_layers=2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    # As cuDNN wants them on a GPU.
    for lstm in model.lstms:
        weights = list(lstm.parameters())
        block = torch.cat([weight.detach().flatten() for weight in weights])
        for weight, part in zip(weights, block.split([weight.numel() for weight in weights]), strict=True):
            weight.data = part.view_as(weight)
    model.save_pretrained(tmp_path)
    loaded = CharLSTM.from_pretrained(str(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in before.items())


def test_weights_that_are_not_whole_are_not_loaded_in_part(tmp_path: Path) -> None:
    make(hidden_size=12).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lstms.0.weight_hh_l0"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="weight_hh_l0"):
        CharLSTM.from_pretrained(str(tmp_path))
