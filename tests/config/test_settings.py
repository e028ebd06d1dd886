"""The configuration: which source wins, what a file may hold, and how a mistake is told."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from charrnn.config.presets import PRESETS
from charrnn.config.settings import TrainConfig, base_config, check_resumed, from_values, load_config, parse, to_json
from charrnn.errors import ConfigError

FIELDS = [field.name for field in dataclasses.fields(TrainConfig)]


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Which source wins.


def test_without_flags_the_default_preset_is_taken() -> None:
    assert parse([], "laptop") == TrainConfig(preset="laptop")
    gpu = parse([], "gpu")
    assert (gpu.preset, gpu.hidden_size, gpu.schedule) == ("gpu", 1024, "trapezoid")


def test_flags_win_over_a_file_over_a_preset_over_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path / "values.json", {"batch_size": 7, "seq_length": 9})
    config = parse(["--preset", "karpathy", "--config", str(path), "--seq-length", "11"], "laptop")
    assert config.seq_length == 11  # flag
    assert config.batch_size == 7  # file
    assert config.hidden_size == PRESETS["karpathy"][1]["hidden_size"] == 128  # preset
    assert config.keep == TrainConfig().keep  # default
    assert config.preset == "karpathy"


def test_a_flag_can_bring_back_the_default_value() -> None:
    assert parse(["--preset", "karpathy", "--hidden-size", "512"], "laptop").hidden_size == 512


def test_the_preset_of_a_file_is_taken_unless_a_flag_names_another(tmp_path: Path) -> None:
    path = str(write(tmp_path / "values.json", {"preset": "blog"}))
    assert parse(["--config", path], "laptop").loss_on == "last"
    assert parse(["--config", path, "--preset", "karpathy"], "laptop").loss_on == "all"


def test_lists_are_replaced_and_not_appended_to(tmp_path: Path) -> None:
    lists = {"corpus": ["files:a", "files:b"], "plugin": ["one"], "temperatures": [0.1, 0.2]}
    path = str(write(tmp_path / "values.json", lists))
    untouched = parse(["--config", path], "laptop")
    assert (untouched.corpus, untouched.plugin, untouched.temperatures) == (
        ("files:a", "files:b"),
        ("one",),
        (0.1, 0.2),
    )
    flags = ["--corpus", "files:c", "--corpus", "files:d", "--temperatures", "1.5"]
    changed = parse(["--config", path, *flags], "laptop")
    assert (changed.corpus, changed.plugin, changed.temperatures) == (("files:c", "files:d"), ("one",), (1.5,))


@pytest.mark.parametrize("flag", ["--run_dir", "--run-dir"])
def test_a_resumed_run_takes_its_own_values(flag: str, tmp_path: Path) -> None:
    begun = TrainConfig(corpus=("files:a",), hidden_size=33, preset="karpathy", tracker="none")
    (tmp_path / "config.json").write_text(to_json(begun))
    config = parse([flag, str(tmp_path), "--resume", "--log-every", "3"], "gpu")
    assert config == dataclasses.replace(begun, run_dir=str(tmp_path), resume=True, log_every=3)


def test_a_resumed_run_keeps_its_name_in_the_tracker(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(to_json(TrainConfig(run_name="my best run")))
    assert parse(["--run-dir", str(tmp_path), "--resume"], "laptop").run_name == "my best run"


def test_a_new_run_takes_the_values_of_another_but_not_its_place(tmp_path: Path) -> None:
    other = TrainConfig(hidden_size=33, run_dir="runs/other", run_name="other", resume=True)
    path = tmp_path / "config.json"
    path.write_text(to_json(other))
    config = parse(["--config", str(path)], "laptop")
    assert (config.hidden_size, config.run_dir, config.run_name, config.resume) == (33, "", "", False)


def test_resuming_a_run_that_has_not_begun_is_a_fresh_start(tmp_path: Path) -> None:
    config = parse(["--run-dir", str(tmp_path / "new"), "--resume"], "laptop")
    assert config == TrainConfig(run_dir=str(tmp_path / "new"), resume=True, preset="laptop")


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({}, []),
        ({"preset": "karpathy", "hidden_size": 33}, ["--preset", "karpathy", "--hidden-size", "33"]),
        ({"corpus": ["files:a", "files:b"]}, ["--corpus", "files:a", "--corpus", "files:b"]),
        ({"temperatures": [0.5], "tie_weights": False}, ["--temperatures", "0.5", "--no-tie-weights"]),
        ({"preset": "gpu", "min_seq_length": 50}, ["--preset", "gpu", "--min-seq-length", "50"]),
    ],
)
def test_values_from_python_are_what_flags_are(values: dict[str, Any], flags: list[str]) -> None:
    assert from_values(values, "laptop") == parse(flags, "laptop")


def test_values_from_python_go_on_with_a_run_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(to_json(TrainConfig(hidden_size=33, corpus=("files:a",))))
    resumed = from_values({"run_dir": str(tmp_path), "resume": True}, "laptop")
    assert resumed == parse(["--run-dir", str(tmp_path), "--resume"], "laptop")
    repeated = from_values({"config": str(path), "corpus": ["files:b"]}, "laptop")
    assert (repeated.hidden_size, repeated.corpus) == (33, ("files:b",))


def test_wrong_values_from_python_are_told_in_one_line() -> None:
    for values, complaint in (({"hiden_size": 3}, "hiden_size"), ({"hidden_size": "x"}, "hidden_size")):
        with pytest.raises(ConfigError, match=complaint) as caught:
            from_values(values, "laptop")
        one_line(caught)


# Files.


def test_a_configuration_comes_back_from_its_json(tmp_path: Path) -> None:
    config = TrainConfig(
        corpus=("gutenberg:1597", "files:für/*.txt?encoding=latin-1"),
        prompt="Es war\n\u2028\x00 \U0001f600",
        temperatures=(0.0, 1e-9),
        learning_rate=1 / 3,
        preset="laptop",
        normalize="NFC",
        deterministic=True,
    )
    path = tmp_path / "config.json"
    path.write_text(to_json(config), encoding="utf-8")
    assert parse(["--config", str(path)], "gpu") == dataclasses.replace(config, config=str(path))
    assert load_config(path).items() <= dataclasses.asdict(config).items()


def test_yaml_is_read_as_it_is_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("# by hand\nhidden_size: 256\nlearning_rate: 2e-3\ncorpus:\n  - files:a.txt\n  - gutenberg:1597\n")
    expected = {"hidden_size": 256, "learning_rate": 2e-3, "corpus": ("files:a.txt", "gutenberg:1597")}
    assert load_config(path) == expected


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"hiden_size": 3}, "hiden_size"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 1.5}, "hidden_size"),
        ({"optimizer": "sgd"}, "optimizer: .*'adamw', 'adam' or 'rmsprop'"),
        ({"temperatures": [0.5, "hot"]}, "temperatures.1"),
        ({"dropout": 1.0}, "--dropout 1.0"),
        ({3: 4}, "3"),
        (["hidden_size"], "names and values"),
        (None, "names and values"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(values: Any, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "values.json", values)
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse(["--config", str(path)], "laptop")
    message = one_line(caught)
    assert str(path) in message or "--" in message


@pytest.mark.parametrize(
    "content", [b"{hidden_size: [", b"\xff\xfe\x00", b"a: b: c", b"!!python/object/apply:os.getcwd []"]
)
def test_a_file_that_is_no_json_or_yaml_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in one_line(caught)


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(ConfigError) as caught:
            parse(["--config", str(path)], "laptop")
        assert str(path) in one_line(caught)


def test_a_choice_is_spelled_as_it_has_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'NFC'"):
        load_config(write(tmp_path / "values.json", {"normalize": "nfc"}))


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        pytest.param({"min_seq_length": 50}, ["--preset", "gpu"], id="with its preset"),
        pytest.param(
            {"preset": "karpathy", "embedding_size": 128, "tie_weights": True}, [], id="with the file's preset"
        ),
        pytest.param({"tie_weights": True}, ["--embedding-size", "512"], id="with a flag"),
        pytest.param({"epochs": 0}, ["--max-steps", "10"], id="with a flag that replaces it"),
    ],
)
def test_values_are_judged_together_with_what_they_are_used_with(
    values: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    config = parse(["--config", str(write(tmp_path / "values.json", values)), *flags], "laptop")
    assert {name: getattr(config, name) for name in values} == values


# Values.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("hidden_size", "num_layers", "batch_size", "seq_length", "min_freq", "log_every")),
        *((name, -1) for name in ("max_size", "embedding_size", "max_steps", "min_seq_length", "eval_every", "keep")),
        *((name, -1) for name in ("sample_every", "checkpoint_every", "checkpoint_minutes", "num_threads")),
        *((name, -0.5) for name in ("weight_decay", "sample_length", "grad_clip", "learning_rate", "epochs")),
        *((name, 1.0) for name in ("dropout", "state_drop", "val_fraction", "test_fraction", "warmup")),
        *((name, -0.1) for name in ("dropout", "state_drop", "val_fraction", "test_fraction", "warmup")),
        *((name, float("nan")) for name in ("learning_rate", "dropout", "grad_clip", "epochs", "weight_decay")),
        ("final_learning_rate", 1.5),
        ("learning_rate", 0.0),
        ("epochs", 0.0),
        ("epochs", float("inf")),
        ("learning_rate", float("inf")),
        ("min_seq_length", 33),
        ("temperatures", (1.0, -0.1)),
        ("temperatures", (float("inf"),)),
        ("tie_weights", True),
        ("num_threads", 99_999_999_999),
        ("drop_connect", 1.0),
        ("drop_connect", -0.1),
        ("drop_connect", 0.003),
    ],
)
def test_a_value_that_cannot_be_names_its_flag(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} ") as caught:
        TrainConfig(**{name: value}).check()
    one_line(caught)


def test_text_for_the_test_is_given_or_set_apart_but_not_both() -> None:
    with pytest.raises(ConfigError, match=r"^--test-fraction 0\.1: it must be 0 with --test-corpus"):
        TrainConfig(test_corpus=("files:b",), test_fraction=0.1).check()


def test_a_text_has_one_use() -> None:
    for values in ({"val_corpus": ("files:a",)}, {"test_corpus": ("files:a",)}):
        with pytest.raises(ConfigError, match="files:a: it is given for something else"):
            TrainConfig(corpus=("files:a",), **values).check()
    TrainConfig(corpus=("files:a",), val_corpus=("files:b",), val_fraction=0.9, test_fraction=0.5).check()


def test_held_out_shares_that_leave_nothing_to_train_on_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="fraction"):
        TrainConfig(val_fraction=0.6, test_fraction=0.5).check()


@pytest.mark.parametrize("source", ["init_from", "vocab"])
def test_a_vocabulary_that_is_given_is_not_chosen_too(source: str) -> None:
    TrainConfig(**{source: "there"}).check()
    for name, value in (("vocab", "here"), ("min_freq", 2), ("max_size", 9)):
        if name != source:
            with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} {value}: it "):
                TrainConfig(**{source: "there", name: value}).check()


def test_one_of_what_can_be_several_needs_no_brackets(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("corpus: files:a.txt\ntemperatures: 1\n")
    config = parse(["--config", str(path)], "laptop")
    assert (config.corpus, config.temperatures) == (("files:a.txt",), (1.0,))
    assert from_values({"temperatures": 0.5}, "laptop").temperatures == (0.5,)


@pytest.mark.parametrize("flags", [["--hidden-size", "512"], ["--hidden_size=512"], ["--tie-weights"]])
def test_a_starting_model_has_a_shape_of_its_own(flags: list[str], tmp_path: Path) -> None:
    for source in (["--init-from", "base"], ["--config", str(write(tmp_path / "values.json", {"init_from": "base"}))]):
        assert parse([*source, "--preset", "blog"], "laptop").init_from == "base"
        with pytest.raises(ConfigError, match=flags[0].split("=")[0].replace("_", "-") + ": the model of"):
            parse([*source, *flags], "laptop")
    with pytest.raises(ConfigError, match=r"^--num-layers: the model of"):
        from_values({"init_from": "base", "num_layers": 1}, "laptop")


def test_a_wrong_flag_value_is_told_by_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--dropout 2"):
        parse(["--dropout", "2"], "laptop")


def test_an_unknown_preset_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'huge'.*laptop, laptop-long, gpu, karpathy, blog") as caught:
        parse(["--preset", "huge"], "laptop")
    one_line(caught)


@pytest.mark.parametrize("flags", [["--hiden-size", "3"], ["--hidden-size", "many"], ["--optimizer", "sgd"], ["stray"]])
def test_a_flag_that_does_not_exist_ends_with_the_usage(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(flags, "laptop")
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert flags[0] in captured.out + captured.err


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_configurations(name: str) -> None:
    config = base_config(name, {})
    assert config.preset == name
    for key, value in PRESETS[name][1].items():
        assert getattr(config, key) == value
        assert type(getattr(config, key)) is type(getattr(TrainConfig(), key)), key


# Help.


@pytest.fixture(scope="module")
def help_text() -> str:
    import contextlib
    import io

    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as caught:
        parse(["--help"], "laptop")
    assert caught.value.code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", output.getvalue())
    return " ".join(plain.split())


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_is_documented(name: str, help_text: str) -> None:
    assert f"--{name.replace('_', '-')}" in help_text
    source = (Path(__file__).parents[2] / "charrnn" / "config.py").read_text(encoding="utf-8")
    documented = re.search(rf'(?ms)^    {name}: .*?\n    """(.+?)"""', source)
    assert documented
    assert " ".join(documented[1].split()) in help_text


def test_presets_are_in_the_help(help_text: str) -> None:
    for name, (summary, values) in PRESETS.items():
        assert f"{name}: {summary}" in help_text
        for key in values:
            assert f"--{key.replace('_', '-')}" in help_text


# Resuming.


def saved(**values: Any) -> dict[str, Any]:
    return dataclasses.asdict(TrainConfig(**values))


def test_nothing_changed_is_nothing_to_say() -> None:
    assert check_resumed(TrainConfig(), saved()) == []


def test_what_may_change_is_told() -> None:
    (change,) = check_resumed(TrainConfig(learning_rate=0.5), saved())
    assert change == "--learning-rate 0.5 (it was 0.004)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("corpus", ("files:b",)),
        ("seed", 1),
        ("hidden_size", 3),
        ("num_layers", 2),
        ("embedding_size", 3),
        ("batch_size", 3),
        ("optimizer", "rmsprop"),
        ("val_fraction", 0.2),
        ("normalize", "NFC"),
        ("init_from", "runs/other"),
        ("preset", "gpu"),
    ],
)
def test_what_cannot_change_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} .*new one") as caught:
        check_resumed(TrainConfig(**{name: value}), saved())
    one_line(caught)


def test_a_file_of_an_older_version_lacks_values() -> None:
    older = saved()
    del older["state_drop"]
    assert check_resumed(TrainConfig(state_drop=0.5), older) == []
