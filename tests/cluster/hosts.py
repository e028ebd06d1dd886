"""Hosts made of network namespaces: each with an address, a name and a cache of its own, all on one switch.

Nothing of the machine's own network is touched. What is made carries the number of the process that made it, so that
two test runs never meet, and what a killed one left behind is removed by the next.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

PREFIX = "charrnn-test"


def ip(*words: str | int) -> str:
    """Runs Debian's iproute2; raises `CalledProcessError` where it fails."""
    return subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True).stdout


def why_not() -> str:
    """Why there can be no hosts here; empty if there can."""
    if missing := [name for name in ("ip", "tc", "unshare") if not shutil.which(name)]:
        return f"{', '.join(missing)} not found (Debian: iproute2 and util-linux)"
    name = f"{PREFIX}-{os.getpid()}-probe"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "cable", "type", "veth", "peer", "name", "port")
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    return ""


def kill_all(namespace: str) -> None:
    """Kills everything in a namespace."""
    for pid in ip("netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def remove(namespace: str) -> None:
    """Ends everything in a namespace, and the namespace with its cables."""
    kill_all(namespace)
    ip("netns", "delete", namespace)


def remove_left_behind() -> None:
    """Removes what test runs left here that are no more."""
    for line in ip("netns", "list").splitlines():
        namespace = line.split()[0]
        maker = namespace.removeprefix(f"{PREFIX}-").split("-")[0]
        if namespace.startswith(PREFIX) and not psutil.pid_exists(int(maker)):
            remove(namespace)


class Host:
    """One machine: a namespace, a cable to the switch, and the programs on it."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.name = f"node{number}"
        self.address = f"10.77.0.{number + 1}"
        self.folder = cluster.folder / self.name
        self.folder.mkdir()
        (self.folder / "output.txt").touch()
        self._switch, self._port = cluster.switch, f"port{number}"
        self._namespace = f"{cluster.name}-{self.name}"
        self._hosts_file = cluster.folder / "hosts"
        self._programs: list[subprocess.Popen[str]] = []
        ip("netns", "add", self._namespace)
        cluster.namespaces.append(self._namespace)
        ip("-n", self._namespace, "link", "set", "lo", "up")
        cable = ("type", "veth", "peer", "name", self._port, "netns", self._switch)
        ip("-n", self._namespace, "link", "add", "cable", *cable)
        ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", "cable")
        ip("-n", self._namespace, "link", "set", "cable", "up")
        ip("-n", self._switch, "link", "set", self._port, "master", "bridge", "up")

    def command(self, words: list[str]) -> list[str]:
        """What starts a program on this host, from the machine that the hosts are made of."""
        # `ip netns exec` gives the program a view of the file system of its own, so the mounts are seen by no other.
        mounts = 'mount --bind "$1" /etc/hosts && mount -t tmpfs memory /dev/shm'
        boot = f'hostname "$0" && {mounts} && shift && exec env "$@"'
        enter = ["ip", "netns", "exec", self._namespace, "unshare", "--uts", "sh", "-c", boot]
        environment = [
            f"XDG_CACHE_HOME={self.folder}/cache",
            "GLOO_SOCKET_IFNAME=cable",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        ]
        return [*enter, self.name, str(self._hosts_file), *environment, *words]

    def start(self, words: list[str], **environment: str) -> subprocess.Popen[str]:
        """Starts a program in the host's own folder; what it says goes to `output`."""
        with (self.folder / "output.txt").open("a") as output:
            program = subprocess.Popen(
                self.command([*(f"{name}={value}" for name, value in environment.items()), *words]),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.folder,
            )
        self._programs.append(program)
        return program

    def output(self) -> str:
        """What all programs on this host have said."""
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def plug(self, *, is_in: bool) -> None:
        """Pulls the cable out of the switch, or puts it in again."""
        ip("-n", self._switch, "link", "set", self._port, "up" if is_in else "down")

    def limit(self, megabits: int) -> None:
        """Limits what the host can send, in megabits per second."""
        tbf = ["rate", f"{megabits}mbit", "burst", "64kb", "latency", "200ms"]
        command = ["tc", "-n", self._namespace, "qdisc", "replace", "dev", "cable", "root", "tbf", *tbf]
        subprocess.run(command, check=True, capture_output=True)

    def kill(self) -> None:
        """Kills everything on the host at once."""
        kill_all(self._namespace)
        for program in self._programs:
            program.wait()


class Cluster:
    """Some hosts and the switch between them; `close` ends everything on them and removes them."""

    def __init__(self, num_hosts: int, folder: Path) -> None:
        remove_left_behind()
        self.name = f"{PREFIX}-{os.getpid()}"
        self.folder = folder
        self.switch = f"{self.name}-switch"
        self.namespaces = [self.switch]
        self.hosts: list[Host] = []
        ip("netns", "add", self.switch)
        try:
            ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
            ip("-n", self.switch, "link", "set", "bridge", "up")
            self.hosts += [Host(self, number) for number in range(num_hosts)]
            known = [f"{host.address} {host.name}\n" for host in self.hosts]
            (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(known))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leaves nothing behind."""
        for host in self.hosts:
            host.kill()
        for namespace in self.namespaces:
            remove(namespace)
