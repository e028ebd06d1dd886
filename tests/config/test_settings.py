"""The configuration: which source wins, what a file may hold, and how a mistake is told."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from charrnn.config.keywords import Keywords
from charrnn.config.options import documented, flag
from charrnn.config.presets import PRESETS
from charrnn.config.settings import TrainConfig, to_json
from charrnn.config.sources import check_resumed, from_saved, parse, read_config, resolve
from charrnn.errors import ConfigError, UsageError

FIELDS = list(TrainConfig.model_fields)


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Which source wins.


def test_without_flags_five_minutes_are_planned() -> None:
    assert parse([], "laptop") == TrainConfig(minutes="5")
    assert parse(["--hidden-size", "64"], "gpu").minutes == "5"
    assert parse(["--minutes", "0.5", "--dropout", "0.1"], "gpu") == TrainConfig(minutes="0.5", dropout=0.1)


@pytest.mark.parametrize("flags", [["--epochs", "2"], ["--max-steps", "9"]])
def test_with_epochs_or_steps_alone_the_default_preset_is_taken(flags: list[str]) -> None:
    assert (parse(flags, "laptop").preset, parse(flags, "laptop").minutes) == ("laptop", "")
    gpu = parse(flags, "gpu")
    assert (gpu.preset, gpu.hidden_size, gpu.schedule) == ("gpu", 1024, "trapezoid")


@pytest.mark.parametrize("wrong", ["0", "-3", "five", "1:30", "nan", "inf", "1e3", "+", "++5", "true"])
def test_minutes_are_a_number_with_or_without_a_plus(wrong: str) -> None:
    with pytest.raises(ConfigError, match="write a number of minutes above 0") as error:
        parse([f"--minutes={wrong}"], "laptop")
    assert one_line(error)


@pytest.mark.parametrize("wrong", [0, -3, True, [1]])
def test_other_minutes_from_python_are_refused_too(wrong: object) -> None:
    with pytest.raises(ConfigError, match="write a number of minutes above 0"):
        resolve({"minutes": wrong}, "laptop")


@pytest.mark.parametrize(("value", "read"), [("5", "5"), ("+10", "+10"), (5, "5"), (0.5, "0.5"), (2.0, "2")])
def test_minutes_can_be_numbers_too(value: object, read: str) -> None:
    assert resolve({"minutes": value, "resume": True}, "laptop").minutes == read


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
    assert config == begun.model_copy(update={"run_dir": str(tmp_path), "resume": True, "log_every": 3})


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
    assert config == TrainConfig(run_dir=str(tmp_path / "new"), resume=True, minutes="5")


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
    assert resolve(values, "laptop") == parse(flags, "laptop")


def test_values_from_python_go_on_with_a_run_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(to_json(TrainConfig(hidden_size=33, corpus=("files:a",))))
    resumed = resolve({"run_dir": str(tmp_path), "resume": True}, "laptop")
    assert resumed == parse(["--run-dir", str(tmp_path), "--resume"], "laptop")
    repeated = resolve({"config": str(path), "corpus": ["files:b"]}, "laptop")
    assert (repeated.hidden_size, repeated.corpus) == (33, ("files:b",))


def test_wrong_values_from_python_are_told_in_one_line() -> None:
    for values, complaint in (({"hiden_size": 3}, "hiden_size"), ({"hidden_size": "x"}, "hidden_size")):
        with pytest.raises(ConfigError, match=complaint) as caught:
            resolve(values, "laptop")
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
    assert parse(["--config", str(path)], "gpu") == config.model_copy(update={"config": str(path)})


def test_yaml_is_read_as_it_is_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("# by hand\nhidden_size: 256\nlearning_rate: 2e-3\ncorpus:\n  - files:a.txt\n  - gutenberg:1597\n")
    config = parse(["--config", str(path)], "laptop")
    assert (config.hidden_size, config.learning_rate) == (256, 2e-3)
    assert config.corpus == ("files:a.txt", "gutenberg:1597")


def test_yaml_words_mean_what_the_setting_makes_of_them(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(
        "hidden-size: 256\nprompt: no\nrun_name: 010\nproject: 1:30\ndeterministic: yes\nmax_steps: 1_000\n"
    )
    config = parse(["--config", str(path)], "laptop")
    assert (config.hidden_size, config.prompt, config.project) == (256, "no", "1:30")
    assert (config.deterministic, config.max_steps) == (True, 1000)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("max_steps", "true", "write a number in digits, such as 90 or 1.5"),
        ("seed", "010", "write it without the 0 in front"),
        ("learning_rate", "00.1", "write it without the 0 in front"),
        ("checkpoint_minutes", "1:30", "write a number in digits, such as 90 or 1.5"),
        ("epochs", "0x10", "write a number in digits"),
        ("temperatures", "[0.5, true]", "write a number in digits, such as 90 or 1.5"),
        ("keep", "null", "must be a whole number"),
        ("prompt", "null", "must be a text"),
        ("log_model", "maybe", "must be true or false"),
    ],
)
def test_a_value_that_could_mean_two_things_is_refused(
    name: str, value: str, advice: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"values{suffix}"
    quoted = value if suffix == ".yaml" or value in ("true", "null") or value[0] == "[" else json.dumps(value)
    path.write_text(f"{name}: {value}\n" if suffix == ".yaml" else f'{{"{name}": {quoted}}}')
    with pytest.raises(ConfigError, match=advice) as caught:
        parse(["--config", str(path)], "laptop")
    assert one_line(caught).startswith(f"{path}: {name} ")


@pytest.mark.parametrize("value", ["true", "010", "1:30", "ten", "1e", ""])
def test_a_flag_takes_the_numbers_that_a_file_takes(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^--max-steps"):
        parse([f"--max-steps={value}"], "laptop")


@pytest.mark.parametrize(
    "content", ['{"seed": 1, "seed": 2}', "seed: 1\nseed: 2\n", "hidden-size: 1\nhidden_size: 2\n"]
)
def test_a_name_that_comes_twice_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_text(content)
    with pytest.raises(ConfigError, match="twice") as caught:
        parse(["--config", str(path)], "laptop")
    assert str(path) in one_line(caught)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"hiden_size": 3}, "hiden_size"),
        ({"hidden_size": "many"}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 1.5}, "hidden_size"),
        ({"optimizer": "sgd"}, "optimizer sgd: choose adamw, adam, rmsprop"),
        ({"temperatures": [0.5, "hot"]}, "temperatures hot"),
        ({"dropout": 1.0}, "dropout 1.0"),
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
        parse(["--config", str(path)], "laptop")
    assert str(path) in one_line(caught)


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(ConfigError) as caught:
            parse(["--config", str(path)], "laptop")
        assert str(path) in one_line(caught)


def test_a_choice_is_spelled_as_it_has_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean NFC"):
        parse(["--config", str(write(tmp_path / "values.json", {"normalize": "nfc"}))], "laptop")


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
        resolve({name: value}, "laptop", flag)
    one_line(caught)


def test_text_for_the_test_is_given_or_set_apart_but_not_both() -> None:
    with pytest.raises(ConfigError, match=r"^--test-fraction 0\.1: it must be 0 with --test-corpus"):
        resolve({"test_corpus": ("files:b",), "test_fraction": 0.1}, "laptop")


def test_a_text_has_one_use() -> None:
    for values in ({"val_corpus": ("files:a",)}, {"test_corpus": ("files:a",)}):
        with pytest.raises(ConfigError, match="files:a: it is given for something else"):
            resolve({"corpus": "files:a", **values}, "laptop")
    TrainConfig(corpus=("files:a",), val_corpus=("files:b",), val_fraction=0.9, test_fraction=0.5)


def test_held_out_shares_that_leave_nothing_to_train_on_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="fraction"):
        resolve({"val_fraction": 0.6, "test_fraction": 0.5}, "laptop")


@pytest.mark.parametrize("source", ["init_from", "vocab"])
def test_a_vocabulary_that_is_given_is_not_chosen_too(source: str) -> None:
    resolve({source: "there"}, "laptop")
    for name, value in (("vocab", "here"), ("min_freq", 2), ("max_size", 9)):
        if name != source:
            with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} {value}: it "):
                resolve({source: "there", name: value}, "laptop", flag)


def test_one_of_what_can_be_several_needs_no_brackets(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("corpus: files:a.txt\ntemperatures: 1\n")
    config = parse(["--config", str(path)], "laptop")
    assert (config.corpus, config.temperatures) == (("files:a.txt",), (1.0,))
    assert resolve({"temperatures": 0.5}, "laptop").temperatures == (0.5,)


@pytest.mark.parametrize(
    "flags", [["--hidden-size", "512"], ["--hidden_size=5"], ["--tie-weights"], ["--no-tie-weights"]]
)
def test_a_starting_model_has_a_shape_of_its_own(flags: list[str], tmp_path: Path) -> None:
    for source in (["--init-from", "base"], ["--config", str(write(tmp_path / "values.json", {"init_from": "base"}))]):
        assert parse([*source, "--preset", "blog"], "laptop").init_from == "base"
        setting = flags[0].split("=")[0].replace("_", "-").replace("--no-", "--")
        with pytest.raises(ConfigError, match=f"^{setting}: the model of"):
            parse([*source, *flags], "laptop")
    assert parse(["--init-from", "base", "--prompt", "hidden_size"], "laptop").prompt == "hidden_size"
    with pytest.raises(ConfigError, match=r"^--num-layers: the model of"):
        resolve({"init_from": "base", "num_layers": 1}, "laptop")


def test_a_wrong_flag_value_is_told_by_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--dropout 2"):
        parse(["--dropout", "2"], "laptop")


def test_an_unknown_preset_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'huge'.*laptop, laptop-long, gpu, karpathy, blog") as caught:
        parse(["--preset", "huge"], "laptop")
    one_line(caught)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hiden-size", "3"], r"there is no --hiden-size: did you mean --hidden-size\?$"),
        (["--hidden-size"], "--hidden-size: expected one argument"),
        (["stray"], "there is no stray: see charrnn train --help"),
    ],
)
def test_a_flag_that_does_not_exist_is_told_with_the_nearest(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(flags, "laptop")
    one_line(caught)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hiden_size: 3\n", "there is no hiden_size: did you mean hidden_size?"),
        ("xyz: 3\n", "there is no xyz"),
        ("tracker: wandbb\n", "tracker wandbb: did you mean wandb?"),
        ('{"hiden-size": 3}', "there is no hiden_size: did you mean hidden_size?"),
    ],
)
def test_a_name_in_a_file_is_told_with_the_file_and_the_nearest(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        parse(["--config", str(path)], "laptop")
    assert one_line(caught) == f"{path}: {message}"


@pytest.mark.parametrize("flags", [["--hidden-size", "many"], ["--optimizer", "sgd"], ["--temperatures", "1", "hot"]])
def test_a_flag_of_the_wrong_kind_is_told_by_its_value(flags: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"^{flags[0]} {flags[-1]}: ") as caught:
        parse(flags, "laptop")
    one_line(caught)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_configurations(name: str) -> None:
    config = resolve({"preset": name}, "laptop")
    assert config.preset == name
    for key, value in PRESETS[name][1].items():
        assert getattr(config, key) == value
        assert type(getattr(config, key)) is type(getattr(TrainConfig(), key)), key


# Help.


def help_of(width: int) -> str:
    """What --help prints on a terminal of some width."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as caught:
            parse(["--help"], "laptop")
    assert caught.value.code == 0
    return output.getvalue()


@pytest.fixture(scope="module")
def help_text() -> str:
    return " ".join(help_of(10_000).split())


@pytest.mark.parametrize("name", FIELDS)
def test_every_flag_is_documented(name: str, help_text: str) -> None:
    assert f"--{name.replace('_', '-')}" in help_text
    assert documented(TrainConfig)[name].removesuffix(".") in help_text


def test_the_help_begins_with_examples_and_what_most_people_need() -> None:
    lines = help_of(100).splitlines()
    assert lines[0] == "usage: charrnn train [FLAGS]"
    assert len([line for line in lines[:8] if line.startswith("Example: ")]) == 2
    headings = [line for line in lines if re.match(r"\w.*:$", line)]
    assert headings[0] == "what most people need:"
    first = "\n".join(lines).split("\n\n")[3]
    assert len(re.findall(r"(?m)^  --", first)) == 6


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_help_fits_the_terminal(width: int) -> None:
    lines = help_of(width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < 300


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_a_line_of_the_help(name: str) -> None:
    assert f"\n  {name}: {PRESETS[name][0]}\n" in help_of(200) + "\n"


def plain(kind: Any) -> Any:
    """A type without what is said besides, and any sequence, or one of its elements, for a tuple."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    if get_origin(kind) is tuple:
        element = plain(get_args(kind)[0])
        return element | Sequence[element]
    return kind


def test_the_keywords_of_fit_are_the_settings() -> None:
    keywords = get_type_hints(Keywords)
    assert [name for name in FIELDS if name != "corpus"] == list(keywords)
    for name, kind in keywords.items():
        expected = plain(TrainConfig.model_fields[name].annotation)
        assert kind in (expected, str | PathLike[str], str | float), name


# Resuming.


def saved(**values: Any) -> TrainConfig:
    return from_saved(json.loads(to_json(TrainConfig(**values))), "there")


def test_nothing_changed_is_nothing_to_say() -> None:
    assert check_resumed(TrainConfig(), saved()) == []


def test_what_may_change_is_told() -> None:
    (change,) = check_resumed(TrainConfig(learning_rate=0.5), saved())
    assert change == "--learning-rate 0.5 (it was 0.004)"
    # Whether it is the same text in other words, its digest tells.
    (change,) = check_resumed(TrainConfig(corpus=("files:/there/a",)), saved(corpus=("files:a",)))
    assert change == "--corpus files:/there/a (it was files:a)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
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


def test_a_file_of_an_older_version_lacks_values(tmp_path: Path) -> None:
    older = json.loads(to_json(TrainConfig()))
    del older["state_drop"]
    path = write(tmp_path / "config.json", older)
    assert check_resumed(TrainConfig(state_drop=0.5), from_saved(read_config(path), path)) == []
