"""Sampling: the NumPy stepper against torch, the cuts against their definitions, the draws against the distribution."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn.errors import CheckpointError, ConfigError, VocabularyError
from charrnn.model import stepper
from charrnn.model.folder import load_weights, save_model
from charrnn.model.lstm import CharLSTM
from charrnn.model.sampling import (
    Sampling,
    default_prompt,
    draw,
    generate,
    generate_all,
    generate_scored,
    probabilities,
    write,
)
from charrnn.model.stepper import Stepper, Weights
from charrnn.text.vocab import Vocabulary

LETTERS = Vocabulary("\nabcdefg")

pytestmark = pytest.mark.usefixtures("one_thread")


def make_model(vocab_size: int = len(LETTERS), spread: float = 6.0, **shape: Any) -> CharLSTM:
    torch.manual_seed(0)
    model = CharLSTM(vocab_size, **{"hidden_size": 16, "embedding_size": 5, **shape})
    with torch.no_grad():
        model.output.weight.mul_(spread)
    return model


every_input = pytest.mark.parametrize(
    "shape",
    [{}, {"embedding_size": 16, "tie_weights": True}, {"embedding_size": 0}],
    ids=["embedding", "tied", "one-hot"],
)


@pytest.mark.parametrize("cores", [1, 2])
def test_streams_of_a_large_model_are_shared_among_cores(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper, "LARGE", 1)
    monkeypatch.setattr(stepper, "share_of_cores", lambda: cores)
    parts = 2 * stepper.TOGETHER + 6
    test_every_step_has_the_probabilities_of_torch(2, {}, parts)


@pytest.mark.parametrize("num_streams", [1, 3, 64])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@every_input
def test_every_step_has_the_probabilities_of_torch(num_layers: int, shape: dict[str, Any], num_streams: int) -> None:
    model = make_model(num_layers=num_layers, **shape)
    tokens_TB = torch.randint(len(LETTERS), (200, num_streams), generator=torch.Generator().manual_seed(1))
    logits_TBV, _ = model(tokens_TB, model.zero_state(num_streams))
    expected = logits_TBV.double().softmax(-1).detach().numpy()
    side_by_side = Stepper(model)
    stepped = np.array([probabilities(side_by_side.step(tokens_B), 1.0) for tokens_B in tokens_TB.numpy()])
    np.testing.assert_allclose(stepped, expected, rtol=0, atol=1e-5)


def test_a_stepper_does_not_follow_a_model_that_trains_on() -> None:
    model = make_model(num_layers=2)
    before, after = Stepper(model), Stepper(model)
    tokens = np.array([[1], [2], [3]])
    expected = [before.step(tokens_B) for tokens_B in tokens]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    np.testing.assert_array_equal([after.step(tokens_B) for tokens_B in tokens], expected)


@every_input
def test_the_weights_in_a_folder_write_what_their_model_writes(tmp_path: Path, shape: dict[str, Any]) -> None:
    model = make_model(num_layers=2, **shape)
    save_model(tmp_path, model, LETTERS, "")
    weights, vocab = load_weights(tmp_path)
    assert vocab == LETTERS
    assert text(weights, prompt="ab") == text(model, prompt="ab")


def test_a_folder_without_a_whole_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"vocab\.json"):
        load_weights(tmp_path)
    LETTERS.save(tmp_path / "vocab.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(tmp_path)
    save_model(tmp_path, make_model(5), LETTERS, "")
    with pytest.raises(CheckpointError, match="5 characters, its vocabulary 8"):
        load_weights(tmp_path)


some_logits = hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(-20, 20, width=32))


@given(some_logits)
def test_temperature_0_is_the_likeliest(logits: np.ndarray) -> None:
    certain = probabilities(logits, 0.0)
    assert certain.sum() == 1.0
    assert certain[int(np.argmax(logits))] == 1.0


@given(some_logits, st.floats(0.05, 5))
def test_temperature_divides_the_logits(logits: np.ndarray, temperature: float) -> None:
    scaled = torch.from_numpy(logits).double() / temperature
    np.testing.assert_allclose(probabilities(logits, temperature), scaled.softmax(0).numpy(), atol=1e-12)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300, 5e-324])
def test_a_tiny_temperature_is_all_but_the_likeliest(temperature: float) -> None:
    logits = np.array([1.0, 3.0, -2.0], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits, temperature), [0.0, 1.0, 0.0], atol=1e-12)


def as_logits(*weights: float) -> np.ndarray:
    return np.log(np.array(weights, dtype=np.float64))


def kept(weights: np.ndarray, **cuts: Any) -> list[int]:
    return np.flatnonzero(probabilities(weights, 1.0, **cuts)).tolist()


def test_top_k_keeps_the_k_likeliest() -> None:
    logits = as_logits(1, 8, 2, 4)
    assert [kept(logits, top_k=k) for k in (1, 2, 3, 4, 9)] == [[1], [1, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    np.testing.assert_allclose(probabilities(logits, 1.0, top_k=2), [0, 8 / 12, 0, 4 / 12])


def test_top_k_keeps_exactly_k_of_equals_the_first() -> None:
    assert kept(as_logits(1, 2, 2, 2), top_k=2) == [1, 2]
    assert kept(as_logits(1, 1, 1, 1), top_k=3) == [0, 1, 2]


def test_top_p_keeps_the_smallest_set_that_holds_as_much() -> None:
    logits = as_logits(0.125, 0.5, 0.25, 0.125)
    cuts = {0.1: [1], 0.5: [1], 0.51: [1, 2], 0.75: [1, 2], 0.76: [0, 1, 2], 0.875: [0, 1, 2], 0.9: [0, 1, 2, 3]}
    assert {top_p: kept(logits, top_p=top_p) for top_p in cuts} == cuts
    np.testing.assert_allclose(probabilities(logits, 1.0, top_p=0.75), [0, 2 / 3, 1 / 3, 0])


def test_both_cuts_keep_what_both_keep() -> None:
    logits = as_logits(0.125, 0.5, 0.25, 0.125)
    assert kept(logits, top_k=1, top_p=0.76) == [1]
    assert kept(logits, top_k=3, top_p=0.6) == [1, 2]


@given(some_logits, st.integers(0, 14), st.floats(0.01, 1.0))
def test_cuts_keep_the_proportions_of_what_is_left(logits: np.ndarray, top_k: int, top_p: float) -> None:
    whole, cut = probabilities(logits, 1.0), probabilities(logits, 1.0, top_k, top_p)
    left = cut > 0
    assert cut.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(cut[left], whole[left] / whole[left].sum(), rtol=1e-9)
    assert whole[left].min() >= whole[~left].max(initial=0.0)
    assert not top_k or left.sum() <= top_k
    if top_p < 1.0 and not 0 < top_k <= left.sum():
        assert whole[left].sum() >= top_p - 1e-12
        assert whole[left].sum() - whole[left].min() < top_p + 1e-12


def text(model: CharLSTM | Weights, vocab: Vocabulary = LETTERS, prompt: str = "", **settings: Any) -> str:
    return "".join(generate(model, vocab, prompt, **{"length": 200, **settings}))


def test_a_seed_writes_its_text_again_and_another_one_another() -> None:
    model = make_model()
    assert text(model, seed=1) == text(model, seed=1) != text(model, seed=2)
    assert text(model, seed=1, length=50) == text(model, seed=1)[:50]
    assert len(text(model)) == 200
    assert text(model, length=0) == ""


def test_two_texts_at_once_do_not_disturb_each_other() -> None:
    model = make_model()
    both = list(
        zip(generate(model, LETTERS, length=50, seed=1), generate(model, LETTERS, length=50, seed=2), strict=True)
    )
    assert "".join(one for one, _ in both) == text(model, seed=1, length=50)
    assert "".join(two for _, two in both) == text(model, seed=2, length=50)


@pytest.mark.parametrize("has_unknown", [False, True])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"temperature": 0.7, "top_k": 3}, {"top_p": 0.5}])
def test_texts_side_by_side_are_those_of_their_seeds(has_unknown: bool, settings: dict[str, Any]) -> None:
    vocab = Vocabulary("\nabcdef", has_unknown)
    model, seeds = make_model(len(vocab), num_layers=2), range(5, 25)
    steps = draw(model, vocab, ["ab"] * len(seeds), seeds=seeds, how=Sampling(length=30, **settings))
    written = [vocab.decode(tokens_T) for tokens_T in np.stack([tokens_B for _, tokens_B, _ in steps], axis=1)]
    assert written == [text(model, vocab, "ab", length=30, seed=seed, **settings) for seed in seeds]


def test_the_prompt_is_read_before_the_first_character() -> None:
    model = make_model(num_layers=2)
    ids = torch.from_numpy(LETTERS.encode("abcab").astype(np.int64))
    logits_TBV, state = model(ids[:, None], model.zero_state(1))
    expected = ""
    for _ in range(30):
        drawn = int(logits_TBV[-1, 0].argmax())
        expected += LETTERS.decode([drawn])
        logits_TBV, state = model(torch.tensor([[drawn]]), state)
    assert text(model, prompt="abcab", length=30, temperature=0.0) == expected


def test_without_a_prompt_a_text_begins_after_a_new_line() -> None:
    model = make_model()
    assert default_prompt(LETTERS) == "\n"
    assert text(model) == text(model, prompt="\n")
    assert default_prompt(Vocabulary("xyz")) == "x"
    assert default_prompt(Vocabulary("xyz", has_unknown=True)) == "x"


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"top_k": 1}, {"top_k": 3}, {"top_p": 0.5}])
def test_the_unknown_is_read_but_never_drawn(settings: dict[str, Any]) -> None:
    vocab = Vocabulary("abc", has_unknown=True)
    model = make_model(len(vocab))
    with torch.no_grad():
        model.output.bias[0] = 50.0  # <unk> is by far the likeliest
    written = text(model, vocab, "aüb", **settings)
    assert len(written) == 200
    assert set(written) <= set("abc")


@pytest.mark.parametrize("has_unknown", [False, True])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.3, "top_k": 2}, {"top_p": 0.5}])
def test_scores_are_the_probabilities_of_the_model_itself(has_unknown: bool, settings: dict[str, Any]) -> None:
    vocab = Vocabulary("\nabcdef", has_unknown)
    model = make_model(len(vocab))
    scored = list(generate_scored(model, vocab, "ab", length=50, seed=4, **settings))
    written = "".join(character for character, _ in scored)
    assert written == text(model, vocab, "ab", length=50, seed=4, **settings)
    ids = torch.from_numpy(vocab.encode("ab" + written).astype(np.int64))
    logits_TBV, _ = model(ids[:-1, None], model.zero_state(1))
    expected = logits_TBV[1:, 0].softmax(-1).gather(1, ids[2:, None])[:, 0].detach()
    np.testing.assert_allclose([score for _, score in scored], expected.numpy(), atol=1e-5)


def test_errors_come_before_the_first_character_is_asked_for() -> None:
    model = make_model()
    with pytest.raises(VocabularyError, match="'z'"):
        generate(model, LETTERS, "az", length=10)
    wrong = [{"temperature": -1}, {"temperature": np.nan}, {"temperature": np.inf}, {"top_k": -1}, {"top_p": 0.0}]
    for settings in [*wrong, {"top_p": 1.1}, {"top_p": np.nan}]:
        with pytest.raises(ConfigError) as caught:
            generate(model, LETTERS, length=10, **settings)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    assert list(generate(model, LETTERS, length=0, temperature=0.0)) == []


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.5, 5, 0.9)])
def test_characters_are_drawn_as_often_as_their_probabilities_say(temperature: float, top_k: int, top_p: float) -> None:
    model = make_model()
    with torch.no_grad():
        for lstm in model.lstms:
            for parameter in lstm.parameters():
                parameter.zero_()  # no memory: every draw is from the same distribution
        model.output.bias.copy_(torch.linspace(-2, 1, len(LETTERS)))
    expected = probabilities(Stepper(model).step(np.array([0]))[0], temperature, top_k, top_p)
    draws = 20_000
    counts = Counter(text(model, length=draws, temperature=temperature, top_k=top_k, top_p=top_p, seed=3))
    observed = np.array([counts[character] for character in LETTERS.characters])
    assert not observed[expected == 0].any()
    likely = expected > 0
    chi_square = ((observed - draws * expected)[likely] ** 2 / (draws * expected)[likely]).sum()
    # Above this in one of 10,000 true samples with 7 degrees of freedom.
    assert chi_square < 29.9


def test_a_text_ends_before_its_stop_and_is_the_same_up_to_there() -> None:
    model = make_model()
    whole = text(model, seed=5)
    for stop in ("a", "cb", whole[40:44], ("g", "ab")):
        stops = (stop,) if isinstance(stop, str) else stop
        end = min((whole.find(each) for each in stops if each in whole), default=len(whole))
        assert text(model, seed=5, stop=stop) == whole[:end]
    # It began, and was not finished when the characters were.
    assert text(model, seed=5, length=42, stop=whole[40:44]) == whole[:42]
    assert text(model, seed=5, length=44, stop=whole[40:44]) == whole[: whole.find(whole[40:44])]


def test_a_stop_in_the_prompt_or_across_its_end_ends_nothing() -> None:
    model = make_model()
    after = text(model, prompt="ab", seed=2)
    assert (
        text(model, prompt="ab", seed=2, stop="b" + after[0]) == after[: (after + "b" + after[0]).find("b" + after[0])]
    )


@pytest.mark.parametrize("stop", ["b", ("ab", "c"), "\n"])
def test_texts_that_end_at_different_times_are_those_of_their_seeds(stop: str | tuple[str, ...]) -> None:
    model, seeds = make_model(), range(30)
    steps = write(model, LETTERS, ["ab"] * 30, seeds=seeds, how=Sampling.from_values({"length": 60, "stop": stop}))
    written = [""] * 30
    for step in steps:
        for stream, character, _ in step:
            written[stream] += character
    assert written == [text(model, prompt="ab", length=60, seed=seed, stop=stop) for seed in seeds]
    assert len(set(map(len, written))) > 3


def test_a_stop_that_can_never_come_is_refused() -> None:
    model = make_model()
    with pytest.raises(VocabularyError, match=r"can end with 'az': the model does not know 'z'"):
        generate(model, LETTERS, stop=["b", "az"])
    with pytest.raises(ConfigError, match="an empty text stands everywhere"):
        generate(model, LETTERS, stop="")


def test_a_stop_is_in_the_normal_form_of_the_text() -> None:
    vocab = Vocabulary("\n\u00e9", normal_form="NFC")
    model = make_model(len(vocab))
    assert "\u00e9" in text(model, vocab, seed=1)
    assert "\u00e9" not in text(model, vocab, seed=1, stop="e\u0301")


def test_many_prompts_get_what_each_gets_alone() -> None:
    model = make_model()
    prompts = ["a", "bcd", "", "a", "\n", *("abcdefg"[: 1 + index % 7] for index in range(100))]
    settings: dict[str, Any] = {"length": 20, "seed": 3, "stop": "f"}
    assert list(generate_all(model, LETTERS, prompts, **settings)) == [
        text(model, prompt=prompt, **settings) for prompt in prompts
    ]
    with pytest.raises(VocabularyError, match=r"^prompt 2: .*'z'"):
        generate_all(model, LETTERS, ["a", "z"])
    with pytest.raises(ConfigError, match="must be a list"):
        generate_all(model, LETTERS, "ab")
