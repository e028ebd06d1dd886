"""The files of launch/, each checked by the tools of what it is written for; Slurm's by running it."""

from __future__ import annotations

import json
import os
import shutil
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

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
BIN = Path(sys.executable).parent


def test_the_scripts_pass_shellcheck() -> None:
    scripts = [*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch", ROOT / ".ci" / "run"]
    found = subprocess.run([BIN / "shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    found = subprocess.run([BIN / "hadolint", LAUNCH / "Dockerfile"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_the_dockerfile_copies_is_there() -> None:
    lines = [line.split() for line in (LAUNCH / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    copied = [name for line in lines for name in line[1:-1]]
    assert {"constraints.txt", "pyproject.toml", "charrnn", "plugins"} <= set(copied)
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


def test_local_sh_starts_so_many_processes(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be. " * 100)
    flags = ["--corpus", f"files:{text}", "--hidden-size", "8", "--max-steps", "2", "--tracker", "none"]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for processes in (["2"], []):
        run = tmp_path / f"run{len(processes)}"
        command = [LAUNCH / "local.sh", *processes, *flags, "--num-threads", "1", "--run-dir", run]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        training = json.loads(next(run.glob("checkpoints/*/training.json")).read_text())
        assert training["num_processes"] == (2 if processes else 1)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(condition: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.2)


Slurm = Callable[..., str]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """A Slurm of this one machine, which ends with the test: runs one of its commands and returns what it prints."""
    needed = ("munged", "slurmctld", "slurmd", "sbatch")
    sbin = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in needed if shutil.which(name, path=sbin) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and Slurm (Debian's slurm-wlm): {', '.join(missing) or 'not root'}")
    host, (control, daemon) = socket.gethostname().split(".")[0], free_ports(2)
    key, munge_socket = tmp_path / "munge.key", tmp_path / "munge.socket"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    configuration = tmp_path / "slurm.conf"
    configuration.write_text(
        "\n".join(
            [
                "ClusterName=test",
                f"SlurmctldHost={host}(127.0.0.1)",
                "SlurmUser=root",
                "AuthType=auth/munge",
                f"AuthInfo=socket={munge_socket}",
                f"StateSaveLocation={tmp_path}/state",
                f"SlurmdSpoolDir={tmp_path}/spool",
                f"SlurmctldPort={control}",
                f"SlurmdPort={daemon}",
                f"SlurmctldPidFile={tmp_path}/slurmctld.pid",
                f"SlurmdPidFile={tmp_path}/slurmd.pid",
                "ProctrackType=proctrack/linuxproc",
                "TaskPlugin=task/none",
                "JobAcctGatherType=jobacct_gather/none",
                "MpiDefault=none",
                "ReturnToService=2",
                f"NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN",
                "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
            ]
        )
        + "\n"
    )
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "PATH": f"{BIN}:{sbin}", "SLURM_CONF": str(configuration)}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    logs = [(tmp_path / f"{name}.log").open("w") for name in needed[:3]]
    munge_options = ["--foreground", "--force", f"--socket={munge_socket}", f"--key-file={key}", "--num-threads=1"]
    munge_options += [f"--pid-file={tmp_path}/munged.pid", f"--seed-file={tmp_path}/munged.seed"]
    commands = [
        ["munged", *munge_options],
        ["slurmctld", "-D", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration)],
    ]
    servers = [
        subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        for command, log in zip(commands, logs, strict=True)
    ]

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    try:
        wait_for(lambda: "idle" in run("sinfo", "-h"), 30, lambda: "".join(Path(log.name).read_text() for log in logs))
        yield run
    finally:
        run("scancel", "--full", "--user=root")
        wait_for(lambda: servers[1].poll() is not None or not run("squeue", "-h").strip(), 40, lambda: run("squeue"))
        for server in reversed(servers):
            server.terminate()
        for server in servers:
            server.wait(20)
        for log in logs:
            log.close()


@pytest.mark.slow
def test_slurm_stops_a_job_takes_it_back_and_finishes_it(slurm: Slurm, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Whether 'tis nobler in the mind to suffer. " * 500)
    flags = ["--corpus", f"files:{text}", "--hidden-size", "32", "--max-steps", "2500", "--log-every", "20"]
    flags += ["--tracker", "none", "--num-threads", "1", "--sample-length", "0", "--val-fraction", "0"]
    never_stopped = tmp_path / "never"
    command = [sys.executable, "-m", "charrnn.train", *flags, "--seed", "7", "--run-dir", str(never_stopped)]
    subprocess.run(command, check=True, capture_output=True)
    run = tmp_path / "run-seed-7"
    options = ["--array", "7", "--output", f"{tmp_path}/%x.out", "--parsable"]
    job = slurm("sbatch", *options, LAUNCH / "slurm.sbatch", tmp_path / "run", *flags).strip() + "_7"

    def told() -> str:
        output = tmp_path / "charrnn.out"
        return slurm("scontrol", "show", "job", job) + (output.read_text()[-3000:] if output.exists() else "")

    shown = told()
    assert "Requeue=1" in shown, shown
    metrics, status = run / "metrics.jsonl", run / "status.json"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size, 60, told)
    # What Slurm does itself when the time limit is near.
    slurm("scancel", "--batch", "--signal=USR1", job)
    wait_for(lambda: "PENDING" in slurm("scontrol", "show", "job", job), 60, told)
    assert json.loads(status.read_text())["state"] == "preempted"
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_for(lambda: json.loads(status.read_text())["state"] == "finished", 120, told)
    wait_for(lambda: "JobState=COMPLETED" in slurm("scontrol", "show", "job", job), 30, told)
    assert "Restarts=1" in slurm("scontrol", "show", "job", job)
    ours, theirs = (
        load_file(max(folder.glob("checkpoints/step-*")) / "model.safetensors") for folder in (run, never_stopped)
    )
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


@pytest.mark.slow
def test_slurm_does_not_take_a_job_back_that_failed(slurm: Slurm, tmp_path: Path) -> None:
    output = tmp_path / "charrnn.out"
    options = ["--output", str(output), "--parsable"]
    job = slurm("sbatch", *options, LAUNCH / "slurm.sbatch", tmp_path / "run", "--corpus", "files:nothing.txt").strip()
    wait_for(lambda: "JobState=FAILED" in slurm("scontrol", "show", "job", job), 90, lambda: output.read_text())
    assert "nothing.txt" in output.read_text()
    assert "Restarts=0" in slurm("scontrol", "show", "job", job)
