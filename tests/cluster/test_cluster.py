"""One job over several machines: that it trains as on one, and what becomes of it when machines and cables fail."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import charrnn
from tests.cluster.hosts import Cluster, Host, why_not
from tests.conftest import DIRECT, make_text, program, rows_of, run, status, torchrun
from tests.test_exact import assert_close, assert_same_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

FLAGS = ("--hidden-size", "16", "--embedding-size", "16", "--batch-size", "8", "--seq-length", "16")
FLAGS += ("--max-steps", "150", "--checkpoint-every", "40", "--eval-every", "60", "--log-every", "1")
FLAGS += ("--learning-rate", "3e-3", "--sample-length", "40", "--num-threads", "1", "--tracker", "none")
ENDLESS = ("--max-steps", "100000")
STORE = "import signal, torch.distributed as d; s = d.TCPStore('0.0.0.0', 29400, is_master=True); signal.pause()"
"""A rendezvous that none of the nodes keeps."""
SHORT = {"CHARRNN_TIMEOUT": "5"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Four hosts with nothing running on them, and all that lies in `tmp_path` shared between them."""
    if reason := why_not():
        pytest.skip(reason)
    made = Cluster(4, tmp_path)
    yield made
    made.close()


@pytest.fixture
def job(text_file: Path, tmp_path: Path) -> list[str]:
    """What all nodes give to the trainer."""
    return [*FLAGS, "--corpus", f"files:{text_file}", "--run-dir", str(tmp_path / "run"), "--resume"]


@pytest.fixture(scope="session")
def one_machine(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of the same run by so many processes of one machine: what others are compared with."""

    @functools.cache
    def run_dir(processes: int) -> Path:
        folder = tmp_path_factory.mktemp("one-machine") / str(processes)
        launcher = torchrun(processes) if processes > 1 else DIRECT
        run(launcher, *FLAGS, "--corpus", f"files:{text_file}", "--run-dir", folder)
        return folder

    return run_dir


def launch(nodes: str, *options: str, rendezvous: str = "node0") -> list[str]:
    """The launcher's command, the same on every node."""
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{rendezvous}:29400", "--rdzv-id", "job"]
    # How soon a node that is gone is missed, and how long one that may come is waited for.
    meeting += ["--rdzv-conf", "keep_alive_interval=1,last_call_timeout=1"]
    return [program("torchrun"), "--nnodes", nodes, "--nproc-per-node", "1", *meeting, *options, "-m", "charrnn.train"]


def alone(hosts: list[Host], host: Host) -> dict[str, str]:
    """The environment of a trainer that no launcher starts, so that what it says is all that is said."""
    meeting = {"MASTER_ADDR": hosts[0].name, "MASTER_PORT": "29500", "LOCAL_RANK": "0"}
    return {**meeting, "WORLD_SIZE": str(len(hosts)), "RANK": str(hosts.index(host))}


def wait_until(condition: Callable[[], bool], host: Host, process: subprocess.Popen[str]) -> None:
    """Waits for a condition while a program runs on a host; fails the test if the program ends first."""
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"{host.name} ended with {process.returncode}:\n{host.output()[-3000:]}")
        time.sleep(0.01)


def logged(run_dir: Path, step: int) -> Callable[[], bool]:
    """Whether a run has come to a step."""
    return lambda: any(row["step"] >= step for row in rows_of(run_dir / "metrics.jsonl"))


def ended(hosts: list[Host], processes: list[subprocess.Popen[str]], *, well: bool) -> None:
    """Waits for the end of all, which must be a good one for each or for none."""
    codes = []
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            codes.append(process.wait(timeout=120))
    if len(codes) < len(processes) or any((code == 0) != well for code in codes):
        pytest.fail(f"exit codes {codes}\n" + "\n".join(f"{host.name}:\n{host.output()[-4000:]}" for host in hosts))


def errors(host: Host) -> list[str]:
    """The lines in which the trainers of a host say what is wrong."""
    return [line for line in host.output().splitlines() if line.startswith("error: ")]


def test_three_nodes_of_which_one_comes_late_train_as_one_machine(
    cluster: Cluster, job: list[str], tmp_path: Path, one_machine: Callable[[int], Path]
) -> None:
    hosts = cluster.hosts[:3]
    started = [host.start([*launch("3"), *job]) for host in hosts[:2]]
    knock = hosts[2].command([sys.executable, "-c", "import socket; socket.create_connection(('node0', 29400), 1)"])
    wait_until(lambda: not subprocess.run(knock, check=False, capture_output=True).returncode, hosts[0], started[0])
    ended(hosts, [*started, hosts[2].start([*launch("3"), *job])], well=True)
    assert_close(one_machine(1), tmp_path / "run", 1e-5)
    for host in hosts:
        assert len(list(host.folder.glob("cache/charrnn/stores/*/store.json"))) == 1


def test_a_node_that_comes_when_another_trains_joins_it(cluster: Cluster, job: list[str], tmp_path: Path) -> None:
    hosts = cluster.hosts[:2]
    command = [*launch("1:2"), *job, *ENDLESS]
    first = hosts[0].start(command)
    wait_until(logged(tmp_path / "run", 50), hosts[0], first)
    second = hosts[1].start(command)
    wait_until(lambda: "2 processes" in hosts[0].output() + hosts[1].output(), hosts[1], second)
    together = len(rows_of(tmp_path / "run" / "metrics.jsonl"))
    wait_until(logged(tmp_path / "run", together + 50), hosts[1], second)
    steps = [row["step"] for row in rows_of(tmp_path / "run" / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1))


def test_a_slow_and_shaky_network_changes_nothing(
    cluster: Cluster, job: list[str], tmp_path: Path, one_machine: Callable[[int], Path]
) -> None:
    hosts = cluster.hosts[:2]
    for host in hosts:
        host.limit(megabits=10)
    started = [host.start([*launch("2"), *job]) for host in hosts]
    wait_until(logged(tmp_path / "run", 50), hosts[0], started[0])
    hosts[1].plug(is_in=False)
    time.sleep(5)
    assert not logged(tmp_path / "run", 150)()
    hosts[1].plug(is_in=True)
    ended(hosts, started, well=True)
    assert_same_run(one_machine(2), tmp_path / "run")


def test_a_cable_cut_for_good_ends_the_job_with_a_line_on_each_node(
    cluster: Cluster, job: list[str], tmp_path: Path
) -> None:
    hosts = cluster.hosts[:2]
    # Without torchrun (2.13), which goes on for minutes where the cut parts it from its store.
    started = [host.start([*DIRECT, *job, *ENDLESS], **SHORT, **alone(hosts, host)) for host in hosts]
    wait_until(logged(tmp_path / "run", 50), hosts[0], started[0])
    hosts[1].plug(is_in=False)
    ended(hosts, started, well=False)
    for rank, host in enumerate(hosts):
        (line,) = errors(host)
        assert re.match(rf"error: {host.name} \(process {rank}\) has lost the others: .*: start the job again", line)
        assert "Traceback" not in host.output()
    assert status(tmp_path / "run")["state"] == "failed"


def test_a_node_that_is_lost_is_replaced_and_the_job_goes_on_exactly(
    cluster: Cluster, job: list[str], tmp_path: Path, one_machine: Callable[[int], Path]
) -> None:
    *hosts, spare, meeting_point = cluster.hosts
    meeting_point.start([sys.executable, "-c", STORE])
    command = [*launch("2", "--max-restarts", "1", rendezvous=meeting_point.name), *job]
    started = [host.start(command, **SHORT) for host in hosts]
    wait_until(logged(tmp_path / "run", 50), hosts[0], started[0])
    hosts[1].plug(is_in=False)
    hosts[1].kill()
    ended([hosts[0], spare], [started[0], spare.start(command, **SHORT)], well=True)
    assert "going on from" in hosts[0].output() + spare.output()
    assert_same_run(one_machine(2), tmp_path / "run")


def test_a_job_that_lost_its_first_node_is_launched_again(
    cluster: Cluster, job: list[str], tmp_path: Path, one_machine: Callable[[int], Path]
) -> None:
    hosts = cluster.hosts[:2]
    started = [host.start([*launch("2"), *job]) for host in hosts]
    wait_until(logged(tmp_path / "run", 50), hosts[0], started[0])
    hosts[0].kill()
    ended(hosts, started, well=False)
    assert len(errors(hosts[1])) == 1
    ended(hosts, [host.start([*launch("2"), *job]) for host in hosts], well=True)
    assert_same_run(one_machine(2), tmp_path / "run")


def test_accelerate_launch_with_a_host_file(
    cluster: Cluster, job: list[str], tmp_path: Path, one_machine: Callable[[int], Path]
) -> None:
    if not shutil.which("mpirun"):
        pytest.skip("mpirun not found (Debian: openmpi-bin)")
    hosts = cluster.hosts[:2]
    (tmp_path / "hostfile").write_text("node0 slots=1\nnode1 slots=1\n")
    shell = tmp_path / "shell"
    # What ssh would be: its first argument is a host, the others are a command for that host's shell.
    clean = f"env -i PATH={shlex.quote(os.environ['PATH'])}"
    cases = [f'{host.name}) exec {clean} {shlex.join(host.command(["sh", "-c"]))} "$*" ;;' for host in hosts]
    shell.write_text("\n".join(["#!/bin/sh", "host=$1; shift", "case $host in", *cases, "esac\n"]))
    shell.chmod(0o755)
    mpi = {"OMPI_MCA_plm_rsh_agent": str(shell), "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    mpi["OMPI_MCA_mca_base_env_list"] = "MASTER_ADDR;MASTER_PORT;ACCELERATE_USE_CPU;ACCELERATE_MIXED_PRECISION"
    command = [program("accelerate"), "launch", "--cpu", "--num_processes", "2", "--num_machines", "2"]
    command += ["--main_process_ip", "node0", "--main_process_port", "29500"]
    command += ["--mpirun_hostfile", str(tmp_path / "hostfile")]
    ended(hosts, [hosts[0].start([*command, "-m", "charrnn.train", *job], **mpi)], well=True)
    assert_same_run(one_machine(2), tmp_path / "run")


def refusal(hosts: list[Host], commands: list[list[str]], **of_the_last: str) -> str:
    """The one line with which a job refuses to start."""
    started = []
    for host, command in zip(hosts, commands, strict=True):
        started.append(host.start(command, **alone(hosts, host), **(of_the_last if host is hosts[-1] else {})))
    ended(hosts, started, well=False)
    (line,) = errors(hosts[0])
    assert "Traceback" not in "".join(host.output() for host in hosts)
    return line


def test_a_run_folder_that_is_not_shared_is_refused(cluster: Cluster, job: list[str]) -> None:
    hosts = cluster.hosts[:2]
    line = refusal(hosts, [["env", "CHARRNN_TIMEOUT=1", *DIRECT, *job, "--run-dir", "run"]] * 2)
    folder = hosts[1].folder / "run"
    assert f"node1 (process 1) does not see the run folder {folder} of the main process: --run-dir must lie" in line
    assert not (hosts[0].folder / "run").exists()


def test_another_version_is_refused(cluster: Cluster, job: list[str], tmp_path: Path) -> None:
    shutil.copytree(Path(charrnn.__file__).resolve().parent, tmp_path / "other" / "charrnn")
    init = tmp_path / "other" / "charrnn" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{charrnn.__version__}"', '"9.9"'))
    line = refusal(cluster.hosts[:2], [[*DIRECT, *job]] * 2, PYTHONPATH=str(tmp_path / "other"))
    assert f"differ in charrnn: {charrnn.__version__} on node0 (process 0); 9.9 on node1 (process 1): install" in line
    assert not (tmp_path / "run").exists()


def test_other_flags_are_refused(cluster: Cluster, job: list[str]) -> None:
    line = refusal(cluster.hosts[:3], [[*DIRECT, *job, "--seed", seed] for seed in ("3", "3", "4")])
    assert "differ in --seed: 3 on node0 (process 0), node1 (process 1); 4 on node2 (process 2): start" in line


def test_another_text_is_refused(cluster: Cluster, job: list[str], tmp_path: Path) -> None:
    hosts = cluster.hosts[:2]
    for host in hosts:
        (host.folder / "text.txt").write_text(make_text(3000) + host.name)
    line = refusal(hosts, [[*DIRECT, *job, "--corpus", "files:text.txt"]] * 2)
    found = r"\w{12} on node0 \(process 0\); \w{12} on node1 \(process 1\)"
    assert re.search(f"differ in vocabulary: {found}: give all nodes the same files", line)
    assert not (tmp_path / "run").exists()
