"""The plan: what is chosen for a text, a time and a machine, that what was given stays, and what a begun run keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config.settings import TrainConfig
from charrnn.config.sources import resolve
from charrnn.training import planning
from charrnn.training.costs import Costs, eval_seconds
from charrnn.training.planning import (
    CHOSEN,
    EPOCHS,
    FEWEST,
    LONGEST_PAUSE,
    SHARE,
    SIZES,
    Task,
    between,
    coarse,
    cost_of,
    extended,
    free,
    num_steps,
    plan,
    read_by,
)
from charrnn.training.rows import thinned

MACHINE = {
    size: Costs(step=8e-3 * (size / 256) ** 1.7, eval_window=0.03, character=3e-4, checkpoint=0.1)
    for size in (256, 512, 1024)
}
"""A machine with two cores, more or less."""


def planned(settings: Mapping[str, Any], task: Task, costs: Mapping[int, Costs] = MACHINE) -> TrainConfig:
    return plan(resolve({"minutes": 1, **settings}, "laptop"), task, costs)


def seconds_of(config: TrainConfig, task: Task) -> float:
    cost = cost_of(config.hidden_size, MACHINE)
    return planning.seconds_of(config, task, cost)


@given(st.integers(2, 10**9), st.floats(6, 36_000))
@settings(deadline=None)
def test_any_text_and_time_has_a_plan_that_is_valid_and_fits(num_train: int, seconds: float) -> None:
    task = Task(num_train, num_train // 9, seconds)
    config = planned({}, task)
    assert TrainConfig.from_values(config.model_dump()) == config
    assert config.hidden_size in SIZES
    assert config.epochs in EPOCHS
    # A row holds a window, so that training can begin.
    assert (thinned(num_train - 1, config.thin)) // config.seq_length >= config.batch_size
    # All but the shortest run there is keep to their time.
    if config.epochs > EPOCHS[0] and num_steps(config, num_train) > 1:
        assert seconds_of(config, task) <= seconds


@given(st.integers(100_000, 10**9), st.floats(30, 3600))
@settings(deadline=None)
def test_a_plan_evaluates_and_samples_at_least_five_times_in_a_tenth_of_the_time(
    num_train: int, seconds: float
) -> None:
    task = Task(num_train, num_train // 9, seconds)
    config = planned({}, task)
    steps = num_steps(config, num_train)
    for every in (config.eval_every, config.sample_every):
        assert config.epochs >= FEWEST or steps // every >= FEWEST
    cost = cost_of(config.hidden_size, MACHINE)
    if config.epochs < FEWEST:
        assert FEWEST * eval_seconds(cost, task.val, config.val_characters) <= 1.05 * SHARE * seconds


def test_in_the_shortest_runs_evaluations_and_samples_leave_the_time_to_the_steps() -> None:
    # 5,000 different characters: an evaluation takes as long as three steps.
    cost = Costs(step=0.05, eval_window=0.15, character=1e-3, checkpoint=0.1)
    for seconds in (4, 5, 10, 30):
        config = planned({}, Task(112_000, 12_000, seconds), {256: cost})
        assert num_steps(config, 112_000) * cost.step > 0.4 * seconds


@pytest.mark.parametrize("given", [{}, {"min_seq_length": 16}, {"thin": 2}])
def test_steps_that_are_given_are_as_many_readings(given: Mapping[str, Any]) -> None:
    task = Task(1_000_000, 110_000, 600)
    by_steps = planned({"max_steps": 20_000, "hidden_size": 512, **given}, task)
    assert num_steps(by_steps, task.train) == 20_000
    by_epochs = planned({"epochs": by_steps.epochs, "hidden_size": 512, **given}, task)
    assert num_steps(by_epochs, task.train) == pytest.approx(20_000, rel=1e-3)
    assert by_epochs.dropout == by_steps.dropout > 0.1


@pytest.mark.parametrize("hours", [0.5, 8])
def test_who_watches_a_long_run_does_not_wait_for_the_end_of_an_epoch(hours: float) -> None:
    task = Task(1_000_000, 110_000, 3600 * hours)
    config = planned({}, task)
    steps = num_steps(config, task.train)
    for every in (config.eval_every, config.sample_every):
        pause = min(steps / config.epochs, every or steps) / steps * seconds_of(config, task)
        assert pause <= 1.1 * LONGEST_PAUSE


def test_more_time_reads_no_less_and_takes_no_smaller_model() -> None:
    for num_train in (20_000, 150_000, 1_000_000, 12_000_000, 10**9):
        plans = [planned({}, Task(num_train, num_train // 9, seconds)) for seconds in (15, 60, 300, 1800, 36_000)]
        sizes = [config.hidden_size for config in plans]
        assert sizes == sorted(sizes)
        losses_of_time = [read_by(config, Task(num_train, 0, 1)) * config.hidden_size for config in plans]
        assert losses_of_time == sorted(losses_of_time)


def test_a_tiny_text_ends_sooner_than_its_time() -> None:
    task = Task(18_000, 2_000, 3600)
    assert seconds_of(planned({}, task), task) < 1800


def test_a_text_that_cannot_be_read_once_is_read_in_parts_from_all_over_it() -> None:
    task = Task(10**9, 10**8, 300)
    config = planned({}, task)
    assert config.thin > 10
    assert 0.4 < config.epochs <= 2
    assert 0 < config.val_characters < 10**8


GIVEN: dict[str, dict[str, Any]] = {
    "hidden_size": {"hidden_size": 300},
    "epochs": {"epochs": 2.5},
    "dropout": {"dropout": 0.0},
    "rate and decay": {"learning_rate": 1e-3, "weight_decay": 0.0},
    "rows and window": {"batch_size": 3, "seq_length": 50},
    "evaluations": {"eval_every": 7, "sample_every": 9, "val_characters": 1000},
    "steps": {"max_steps": 40},
    "shape": {"num_layers": 2, "embedding_size": 16},
    "tied": {"tie_weights": True, "embedding_size": 512},
    "drawn windows": {"min_seq_length": 10},
    "thin": {"thin": 3},
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_given_stays(name: str) -> None:
    config = planned(GIVEN[name], Task(1_000_000, 100_000, 60))
    assert {key: getattr(config, key) for key in GIVEN[name]} == GIVEN[name]
    assert TrainConfig.from_values(config.model_dump()) == config


def test_with_epochs_given_the_size_is_what_fits_them() -> None:
    long, short = (planned({"epochs": epochs}, Task(1_000_000, 100_000, 300)).hidden_size for epochs in (8, 1))
    assert long < short


def test_a_preset_keeps_its_values_and_only_its_length_is_planned() -> None:
    config = resolve({"preset": "laptop-long", "minutes": 5}, "laptop")
    assert free(config) == {"epochs"}
    chosen = plan(config, Task(1_000_000, 100_000, 300), MACHINE)
    changed = {name for name in TrainConfig.model_fields if getattr(chosen, name) != getattr(config, name)}
    assert changed == {"epochs"}


def test_a_whole_configuration_has_nothing_to_plan() -> None:
    chosen = planned({}, Task(1_000_000, 100_000, 300)).model_copy(update={"minutes": ""})
    again = resolve(chosen.model_dump(), "laptop")
    assert again.model_dump() == chosen.model_dump()
    assert not again.minutes


def test_all_that_is_chosen_is_a_setting() -> None:
    assert set(CHOSEN) <= set(TrainConfig.model_fields)


def test_more_minutes_go_on_with_a_schedule_of_their_own_to_the_end_of_the_text() -> None:
    task = Task(1_000_000, 100_000, 60)
    config = planned({}, task).model_copy(update={"epochs": 4.0})
    cost = cost_of(config.hidden_size, MACHINE)
    row_length = (task.train - 1) // config.batch_size
    more = extended(config, 4 * row_length + 20, task, cost)
    assert more.schedule_start == 4 + 20 / row_length
    added = more.epochs - more.schedule_start
    assert round(added, 6) in EPOCHS
    assert (more.epochs + more.start_at) % 1 == pytest.approx(0, abs=1e-5)
    assert more.learning_rate == config.learning_rate / 2
    assert 0.8 * 60 < added * num_steps(more.model_copy(update={"epochs": 1.0}), task.train) * cost.step < 60
    # Once more: the rate is low enough.
    assert extended(more, 5 * row_length, task, cost).learning_rate == more.learning_rate


def test_more_minutes_read_a_small_text_no_more_often_than_is_of_use() -> None:
    task = Task(18_000, 2_000, 600)
    config = planned({}, task)
    more = extended(config, 12 * (18_000 // config.batch_size), task, cost_of(config.hidden_size, MACHINE))
    assert more.epochs < 12 + 13


def test_more_minutes_read_more_of_a_text_that_was_thinned() -> None:
    short, task = (Task(10**9, 10**8, seconds) for seconds in (60, 3600))
    config = planned({}, short)
    cost = cost_of(config.hidden_size, MACHINE)
    time = round(config.epochs * (thinned(short.train - 1, config.thin) // config.batch_size))
    more = extended(config, time, task, cost)
    assert more.thin < config.thin / 10
    assert more.epochs < 2
    assert more.schedule_start == time / (thinned(short.train - 1, more.thin) // config.batch_size)
    assert seconds_of(more.model_copy(update={"epochs": more.epochs - more.schedule_start}), task) < 3600


def test_samples_are_shorter_where_they_would_take_the_time() -> None:
    slow = {size: Costs(step=0.05, eval_window=0.1, character=2e-3, checkpoint=0.1) for size in (256, 512, 1024)}
    for seconds, length in ((10, (40, 99)), (60, (100, 399)), (600, (400, 400))):
        config = planned({}, Task(364_500, 40_500, seconds), slow)
        assert length[0] <= config.sample_length <= length[1]
        assert num_steps(config, 364_500) * 0.05 > 0.4 * seconds
    assert planned({"sample_length": 300}, Task(364_500, 40_500, 10), slow).sample_length == 300
    assert planned({"sample_length": 0}, Task(364_500, 40_500, 60), slow).sample_length == 0


def test_costs_between_and_beyond_those_measured_are_powers_of_the_size() -> None:
    assert cost_of(512, MACHINE) == MACHINE[512]
    for size in (64, 384, 2048):
        assert math.isclose(cost_of(size, MACHINE).step, 8e-3 * (size / 256) ** 1.7, rel_tol=1e-9)
    assert cost_of(700, {512: MACHINE[512]}) == MACHINE[512]


def test_fewer_steps_decay_more() -> None:
    config = TrainConfig(minutes="1")
    decays = {}
    for rows, window in ((16, 32), (64, 64)):
        chosen = plan(config, Task(10**6, 10**5, 60.0, rows, window), MACHINE)
        decays[chosen.batch_size * chosen.seq_length] = chosen.weight_decay
    assert decays == {512: 0.1, 4096: 0.28}


def test_the_size_that_ended_lowest_in_equal_time_is_chosen() -> None:
    # benchmarks/records/2026-11-27-plan.md: characters a second of two cores with AVX-512, more or less.
    speeds = {256: 54_000, 512: 22_000, 768: 10_300, 1024: 6_000}
    costs = {size: Costs(512 / speed, 0.05, 2e-4, 0.1) for size, speed in speeds.items()}
    for num_train, seconds, sizes in (
        (1_003_854, 55, {256}),
        (1_003_854, 290, {384, 512}),  # 512 cells: 1.3906, 768: 1.4125
        (2_876_591, 290, {384, 512}),  # 1.2021 and 1.227
        (1_003_854, 1700, {1024}),
    ):
        assert planned({}, Task(num_train, num_train // 9, seconds), costs).hidden_size in sizes


@pytest.mark.parametrize(
    ("num_train", "size", "epochs", "dropout", "drop_connect"),
    [
        (1_003_854, 768, 1.8, (0.0, 0.05), 0.0),  # 1.4121 without, 0.1: 1.4235
        (1_003_854, 512, 8.0, (0.15, 0.25), 0.0),  # 0.2: 1.3853, 0.3: 1.3923; DropConnect 0.1: 1.4043
        (1_003_854, 1024, 5.2, (0.25, 0.35), 0.0),  # 0.3: 1.3784, 0.5: 1.3841
        (1_003_854, 1024, 12.0, (0.45, 0.55), 0.1),  # 1.3679, 0.6: 1.3756
        (2_876_591, 768, 3.8, (0.0, 0.1), 0.0),  # 0.1: 1.1249, 0.2: 1.1364
        (130_140, 512, 16.0, (0.55, 0.6), 0.2),  # 1.2973; DropConnect 0.1: 1.3084
        (18_000, 512, 12.0, (0.5, 0.6), 0.2),
    ],
)
def test_what_is_left_out_is_what_trials_found(
    num_train: int, size: int, epochs: float, dropout: tuple[float, float], drop_connect: float
) -> None:
    # benchmarks/records/2026-11-27-plan.md
    found = planned({"hidden_size": size, "epochs": epochs}, Task(num_train, num_train // 9, 3600))
    assert dropout[0] <= found.dropout <= dropout[1]
    assert abs(found.drop_connect - drop_connect) < 0.05


def test_a_model_that_has_learnt_already_drops_less() -> None:
    # benchmarks/records/2026-11-27-plan.md: 1.3403 with 0.6 and DropConnect 0.2, 1.3198 with 0.4 alone.
    config = resolve({"minutes": 1, "init_from": "base"}, "laptop").model_copy(update={"hidden_size": 512})
    found = plan(config, Task(18_000, 2_000, 60), MACHINE)
    assert 0.3 <= found.dropout <= 0.4
    assert found.drop_connect == 0


def test_rules_lie_on_lines_between_their_points() -> None:
    points = ((10.0, 1.0), (1000.0, 3.0))
    assert [round(between(points, x), 6) for x in (1, 10, 100, 1000, 10**6)] == [1, 1, 2, 3, 3]
    assert [coarse(x) for x in (1, 9.9, 12.9, 129, 98_765)] == [1, 9, 12, 120, 98_000]
