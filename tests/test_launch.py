"""The files of launch/, each checked by the tools of what it is written for; Slurm's by running it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file

from tests.conftest import (
    DIRECT,
    SMALL,
    free_ports,
    last_checkpoint,
    make_text,
    rows_of,
    run,
    start,
    status,
    wait_until,
)

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = [*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch", ROOT / ".ci" / "run"]


@pytest.fixture(autouse=True)
def activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of these tests as a user has it who launches; daemons are found, too."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")


@pytest.mark.parametrize(("tool", "files"), [("shellcheck", SCRIPTS), ("hadolint", [LAUNCH / "Dockerfile"])])
def test_the_tool_has_nothing_to_say(tool: str, files: list[Path]) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}, of the extra dev")
    run([tool], *files)


def test_what_the_dockerfile_copies_is_there() -> None:
    lines = [line.split() for line in (LAUNCH / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    copied = [name for line in lines for name in line[1:-1]]
    assert {"constraints.txt", "pyproject.toml", "charrnn", "plugins", "launch/local.sh"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def without_none(value: Any) -> Any:
    """What is left of a model's fields when those that were not given are."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value


def test_kubernetes_takes_the_job() -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models")
    kinds = {
        "PersistentVolumeClaim": models.IoK8sApiCoreV1PersistentVolumeClaim,
        "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
        "TrainJob": models.TrainerV1alpha1TrainJob,
    }
    documents = list(yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text()))
    assert [document["kind"] for document in documents] == list(kinds)
    for document in documents:
        # A field that Kubeflow's types do not know is dropped on the way, one of a wrong type refused.
        assert without_none(kinds[document["kind"]].from_dict(document).to_dict()) == document
    claim, runtime, job = documents
    pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert "--resume" in job["spec"]["trainer"]["command"]


def test_accelerate_reads_its_file() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "accelerate_config.yaml"))
    assert (config.distributed_type, config.num_machines, config.use_cpu) == ("MULTI_GPU", 1, False)


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the launcher passes on; there is no GPU to give a process each."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "text.txt").write_text(make_text(2_000))
    return ["--corpus", f"files:{tmp_path / 'text.txt'}", "--tracker", "none", *SMALL]


def processes_of(run_dir: Path) -> int:
    """How many processes a run had, as its last checkpoint says."""
    training = json.loads((last_checkpoint(run_dir) / "training.json").read_text())
    return int(training["circumstances"]["processes"])


@pytest.mark.slow
def test_local_sh_starts_one_job_of_so_many_processes(flags: list[str]) -> None:
    done = run([str(LAUNCH / "local.sh"), "2"], *flags, "--max-steps", "2")
    assert "2 processes" in done.stdout
    (run_dir,) = Path("runs").iterdir()
    assert processes_of(run_dir) == 2


@pytest.mark.slow
def test_local_sh_without_a_number_starts_one_process_and_passes_a_signal_on(flags: list[str]) -> None:
    flags += ["--max-steps", "1000000", "--log-every", "1", "--run-dir", "run"]
    process = start([str(LAUNCH / "local.sh")], *flags)
    wait_until(lambda: rows_of(Path("run/metrics.jsonl")), process)
    process.send_signal(signal.SIGUSR1)
    process.communicate()
    assert status(Path("run"))["state"] == "preempted"
    assert processes_of(Path("run")) == 1


def wait_for(condition: Callable[[], object], otherwise: Callable[[], str]) -> None:
    """Waits until the condition holds; fails with a message after two minutes."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.2)


Slurm = Callable[..., str]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A Slurm of this one machine, which ends with the test: runs one of its commands and returns what it prints."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and Debian's slurm-wlm: {', '.join(missing) or 'not root'}")
    host, (control_port, node_port) = socket.gethostname().split(".")[0], free_ports(2)
    configuration, key, munge = (tmp_path / name for name in ("slurm.conf", "munge.key", "munge.socket"))
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    configuration.write_text(
        f"""
        ClusterName=test
        SlurmctldHost={host}(127.0.0.1)
        SlurmUser=root
        AuthType=auth/munge
        AuthInfo=socket={munge}
        StateSaveLocation={tmp_path}/state
        SlurmdSpoolDir={tmp_path}/spool
        SlurmctldPort={control_port}
        SlurmdPort={node_port}
        SlurmctldPidFile={tmp_path}/slurmctld.pid
        SlurmdPidFile={tmp_path}/slurmd.pid
        ProctrackType=proctrack/linuxproc
        TaskPlugin=task/none
        JobAcctGatherType=jobacct_gather/none
        MpiDefault=none
        NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
        PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
        """
    )
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("SLURM_CONF", str(configuration))
    munge_options = [f"--socket={munge}", f"--key-file={key}", f"--pid-file={tmp_path}/munged.pid"]
    munge_options += [f"--seed-file={tmp_path}/munged.seed", "--foreground", "--force"]
    log = tmp_path / "daemons.log"
    with log.open("w") as file:
        daemons = [
            subprocess.Popen(command, stdout=file, stderr=file)
            for command in (["munged", *munge_options], ["slurmctld", "-D"], ["slurmd", "-D"])
        ]

    def ask(command: str, *args: str | Path) -> str:
        done = run([command], *args, code=None)
        return done.stdout + done.stderr

    try:
        wait_for(lambda: "idle" in ask("sinfo", "--noheader"), log.read_text)
        yield ask
        ask("scancel", "--user=root")
        wait_for(lambda: not ask("squeue", "--noheader").strip(), lambda: ask("squeue"))
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


@pytest.mark.slow
@pytest.mark.timeout(175)
def test_slurm_stops_a_job_takes_it_back_and_finishes_it(slurm: Slurm, tmp_path: Path) -> None:
    text, never_stopped, folder = tmp_path / "text.txt", tmp_path / "never-stopped", tmp_path / "run-seed-7"
    text.write_text(make_text(20_000))
    flags = ["--corpus", f"files:{text}", "--max-steps", "1500", "--checkpoint-every", "10000", "--log-every", "100"]
    flags += ["--val-fraction", "0", "--tracker", "none", *SMALL]
    run(DIRECT, *flags, "--seed", "7", "--run-dir", never_stopped)
    output = tmp_path / "charrnn.out"
    options = ["--array", "7", "--output", str(output), "--parsable"]
    job = slurm("sbatch", *options, LAUNCH / "slurm.sbatch", tmp_path / "run", *flags).strip() + "_7"

    def told() -> str:
        return slurm("scontrol", "show", "job", job) + (output.read_text()[-3000:] if output.exists() else "")

    wait_for(lambda: rows_of(folder / "metrics.jsonl"), told)
    # What Slurm does itself when the time limit is near.
    slurm("scancel", "--batch", "--signal=USR1", job)
    wait_for(lambda: "JobState=PENDING" in told(), told)
    assert status(folder)["state"] == "preempted"
    # Sooner than the two minutes it has to wait, but not in the second in which its credential was revoked.
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+3")
    wait_for(lambda: "JobState=COMPLETED" in told(), told)
    assert status(folder)["state"] == "finished"
    assert "Restarts=1" in told()
    ours, theirs = (load_file(last_checkpoint(each) / "model.safetensors") for each in (folder, never_stopped))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


@pytest.mark.slow
@pytest.mark.timeout(175)
def test_slurm_does_not_take_a_job_back_that_failed(slurm: Slurm, tmp_path: Path) -> None:
    output = tmp_path / "charrnn.out"
    options = ["--output", str(output), "--parsable"]
    job = slurm("sbatch", *options, LAUNCH / "slurm.sbatch", tmp_path / "run", "--corpus", "files:nothing.txt").strip()
    wait_for(lambda: "JobState=FAILED" in slurm("scontrol", "show", "job", job), lambda: slurm("squeue"))
    assert "nothing.txt" in output.read_text()
    assert "Restarts=0" in slurm("scontrol", "show", "job", job)
