"""Every command in the documentation runs, unless it needs what a test cannot have: see `NOT_RUN`."""

from __future__ import annotations

import re
import shlex
import shutil
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import charrnn.cli
import charrnn.train
from charrnn.cli import COMMANDS
from tests.conftest import SMALL, make_text, run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = ("", "sh", "bash", "console")
"""What a fenced block of commands is labelled; an indented block has no label."""

NOT_RUN = {
    r"gutenberg:|corpora search|hf:OWNER|pip install|git clone|curl|wandb (sync|login)|hf auth": "needs the internet",
    r"^(sbatch|srun|salloc|kubectl|helm|docker|ssh)\b|--config_file|mpirun": "needs a cluster",
    r"^charrnn play\b|^trackio show|^tensorboard\b": "serves until it is stopped",
    r"^make\b": "makes an environment of its own",
    r"^python (benchmarks|docs)/": "takes an hour, or what took an hour; test_learning_pages.py has a small one",
    r"^error: ": "is what a command says",
}


def commands_of(page: str) -> Iterator[str]:
    """The lines of indented blocks and of fenced shell blocks, those that a backslash continues joined."""
    label: str | None = None
    lines = []
    for line in page.splitlines():
        if fence := re.match(r" *```(\w*)", line):
            label = fence[1] if label is None else None
        elif (label in SHELL) if label is not None else line.startswith("    "):
            lines.append(line.strip().removeprefix("$ "))
    yield from filter(None, re.sub(r"\\\n", "", "\n".join(lines)).splitlines())


ALL = dict.fromkeys(command for page in PAGES for command in commands_of(page.read_text(encoding="utf-8")))
TO_RUN = [command for command in ALL if not any(re.search(pattern, command) for pattern in NOT_RUN)]


def write_texts() -> None:
    """The files that the documentation speaks of; all have the same characters."""
    text = make_text(6_000) + string.printable
    for name in (
        "my-novel.txt",
        "another.txt",
        "other.txt",
        "tinyshakespeare.txt",
        "books/part/one.txt",
        "poems/one.txt",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    Path("prompts.txt").write_text("Once upon a time\nThere was\n", encoding="utf-8")
    Path("names.txt").write_text("Marcus\n\nX\n", encoding="utf-8")
    (plugin,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    Path("haiku.py").write_text(plugin, encoding="utf-8")


def call(command: str, steps: int = 5) -> int:
    """Runs a command in this process; training with flags that make it short."""
    # A starting model has a shape of its own.
    small = SMALL[SMALL.index("--batch-size") :] if "--init-from" in command else SMALL
    short = [*small, "--tracker", "none", "--max-steps", str(steps)]
    match shlex.split(command, comments=True):
        case ["accelerate", "launch", "-m", "charrnn.train", *flags] | ["charrnn", "train", *flags]:
            return charrnn.train.main([*flags, *short])
        case ["charrnn", *args]:
            return charrnn.cli.main(args)
    pytest.fail(f"this test runs no such command, and NOT_RUN does not say why: {command}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that is called RUN."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        patch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
        write_texts()
        assert call("charrnn train --corpus files:my-novel.txt --run-dir run", steps=3) == 0
        return Path("run").absolute()


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the texts and the run, the text of which is in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(trained.parent / "cache"))
    write_texts()
    shutil.copytree(trained, "runs/RUN")


@pytest.mark.parametrize("command", TO_RUN)
@pytest.mark.usefixtures("here")
def test_a_documented_command_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "shown"),
    [("questions", r"Once upon a time(.|\n){500}\n$"), ("writing", r"(\d+\.\d\d bits a character: .*\n){20}$")],
)
@pytest.mark.usefixtures("here")
def test_the_documented_python_runs(page: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {})
    assert re.match(shown, capsys.readouterr().out)


def test_the_commands_are_found() -> None:
    assert len(TO_RUN) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        charrnn.cli.main([command, "--help"])
    assert "Example: " in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_the_picture_is_drawn_from_a_run() -> None:
    flags = "--log-every 2 --eval-every 2 --sample-every 2"
    assert call(f"charrnn train --corpus files:my-novel.txt {flags} --run-dir run", steps=20) == 0
    run([sys.executable, str(ROOT / "docs/picture.py")], "run", "picture.svg")
    shown = "".join(ElementTree.parse("picture.svg").getroot().itertext())
    assert all(f"step {step}, epoch" in shown for step in (2, 4, 10, 20))
