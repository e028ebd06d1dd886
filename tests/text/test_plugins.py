"""Plugins as their authors and users meet them: the documented ones work, and the faulty ones stop nobody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.text.corpus import CorpusSpec
from charrnn.text.plugins import Corpora
from tests.conftest import SMALL, make_text, program, rows_of, run

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
DOCUMENTED: dict[str, str] = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
"""The files that the page on plugins shows, by their names."""

REGISTER = """
import charrnn

@charrnn.hookimpl
def register_corpora(register):
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one entry point where Python finds it, as pip would."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def install(name: str, code: str, plugin: str = "") -> None:
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[charrnn]\n{plugin or name} = {name}\n")
        (folder / f"{name}.py").write_text(code)

    return install


def charrnn(*args: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run([program("charrnn")], *args, code=code)


def error(*args: str | Path) -> str:
    """The one line that a command fails with."""
    stderr = charrnn(*args, code=1).stderr
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    return stderr


def yields(scheme: str, text: str = "text") -> str:
    """A plugin whose scheme yields one text."""
    return f"{REGISTER}    register({scheme!r}, lambda argument: [{text!r}])\n"


def poems() -> None:
    """Two poems in the working folder."""
    Path("poems").mkdir()
    Path("poems/a.txt").write_text(make_text(2000, seed=1), encoding="utf-8")
    Path("poems/b.txt").write_text(make_text(1000, seed=2), encoding="utf-8")


@pytest.mark.slow
def test_the_documented_plugin_is_packaged_installed_listed_and_trained_on(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    run([sys.executable, "-m", "venv", "--without-pip"], fresh)
    python = [str(fresh / "bin" / "python")]
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    # What is installed here is there too, so that nothing has to be downloaded.
    (packages / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("haiku.py", "pyproject.toml"):
        (source / name).write_text(DOCUMENTED[name], encoding="utf-8")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", source)

    listed = run(python, "-c", "from charrnn.cli import main; main(['corpora'])").stdout
    assert "haiku:  (haiku 1.0)\n    haiku:FOLDER, one poem a file.\n" in listed
    poems()
    flags = ("--max-steps", "5", "--sample-length", "0", "--tracker", "none", "--run-dir", "run")
    run(python, "-m", "charrnn.train", "--corpus", "haiku:poems", *SMALL, *flags)
    assert rows_of(Path("run/metrics.jsonl"))[-1]["step"] == 5


def test_the_documented_plugin_works_unpackaged_from_the_working_folder() -> None:
    Path("haiku.py").write_text(DOCUMENTED["haiku.py"], encoding="utf-8")
    poems()
    shown = charrnn("corpora", "show", "haiku:poems", "--plugin", "haiku").stdout
    joined = Path("poems/a.txt").read_text(encoding="utf-8") + "\n" + Path("poems/b.txt").read_text(encoding="utf-8")
    assert shown == joined
    told = error("corpora", "show", "haiku:poem", "--plugin", "haiku")
    assert "No such file or directory" in told
    assert "poem'" in told


def test_the_documented_plugin_for_large_text(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("dump", DOCUMENTED["dump.py"])
    text = "é".join(make_text(900_000, seed=seed) for seed in (1, 2))
    Path("some.dump").write_text(text, encoding="latin-1")

    assert charrnn("corpora", "show", "dump:some.dump?encoding=latin-1").stdout == text
    found = charrnn("corpora", "search", "so me", "--block-plugin", "gutenberg").stdout
    assert found == f"dump:some.dump  {len(text):,} bytes\n"
    assert "dump:FILE, one document of any size. Option: encoding.\n" in charrnn("corpora").stdout
    missing = error("corpora", "show", "dump:missing.txt").removeprefix("error: ").strip()
    assert f"    error: {missing}\n" in PAGE
    assert "no option 'enc': it takes encoding" in error("corpora", "show", "dump:some.dump?enc=latin-1")

    monkeypatch.syspath_prepend(tmp_path / "installed")
    plain, latin = CorpusSpec.parse("dump:some.dump"), CorpusSpec.parse("dump:some.dump?encoding=latin-1")
    try:
        dump = Corpora().find(plain)
        key = dump.fingerprint(plain)
        assert key == dump.fingerprint(plain)
        assert key != dump.fingerprint(latin)
        assert dump.fingerprint(CorpusSpec.parse("dump:missing.txt")) is None
        os.utime("some.dump", ns=(0, 0))
        assert key != dump.fingerprint(plain)
        pieces = [[len(piece) for piece in document] for document in dump.documents(latin)]
        assert pieces == [[1_000_000, 800_001]]
        # The module may have changed since it was last used with --plugin, so its key promises nothing.
        assert Corpora(["dump"], blocked=["dump"]).find(plain).fingerprint(plain) is None
    finally:
        del sys.modules["dump"]


BROKEN = {
    "raises": ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "needs": ("import not_installed_here", "ModuleNotFoundError: No module named 'not_installed_here'"),
    "unparsed": ("def", "SyntaxError: "),
    "silent": ("", "it registers no corpus: has it a function register_corpora marked @charrnn.hookimpl?"),
    "shouts": (f"{REGISTER}    register('Poems', list)", "it registers 'Poems': a scheme is "),
    "colon": (f"{REGISTER}    register('poems:', list)", "it registers 'poems:': a scheme is "),
    "called": (f"{REGISTER}    register('poems', [])", "its loader of poems is not a function but list"),
    "half": (f"{REGISTER}    register('fine', list)\n    1 / 0", "ZeroDivisionError: division by zero"),
    "other": (REGISTER.replace("register)", "registry)") + "    ...", "PluginValidationError: "),
}


def test_broken_plugins_are_listed_with_the_reason_and_stop_no_other(install: Install, text_file: Path) -> None:
    for name, (code, _) in BROKEN.items():
        install(name, code)
    install("good", yields("good"))

    lines = charrnn("corpora").stdout.splitlines()
    unknown = error("corpora", "show", "nothing:x")
    assert "no corpus 'nothing': known are files, good, gutenberg, hf, python; " in unknown
    for name, (_, reason) in BROKEN.items():
        assert sum(line.startswith(f"not loaded: {name} ({name} 1.0): {reason}") for line in lines) == 1
        assert f"; not loaded: {name}: {reason}" in unknown
    assert charrnn("corpora", "show", "good:x").stdout == "text"
    assert charrnn("corpora", "show", f"files:{text_file}").stdout == text_file.read_text(encoding="utf-8")


def test_two_plugins_with_one_scheme_are_both_named_until_one_is_blocked(install: Install) -> None:
    install("mine", yields("poems", "mine"))
    install("yours", yields("poems", "yours"))
    install("third", yields("third"))

    message = error("corpora", "show", "poems:x")
    assert "two plugins claim poems: mine 1.0 and yours 1.0: block one with --block-plugin NAME" in message
    assert charrnn("corpora").stdout.count("[clash: block one of the plugins with --block-plugin NAME]") == 2
    assert charrnn("corpora", "show", "third:x").stdout == "text"
    assert charrnn("corpora", "show", "poems:x", "--block-plugin", "yours").stdout == "mine"


def test_two_packages_with_one_plugin_name_are_both_named_and_neither_loaded(install: Install) -> None:
    install("mine", yields("first"), plugin="poems")
    install("yours", yields("second"), plugin="poems")
    install("third", yields("third"))

    reason = "mine and yours both call a plugin poems: uninstall one"
    listed = charrnn("corpora").stdout
    assert f"not loaded: poems (mine 1.0): {reason}\nnot loaded: poems (yours 1.0): {reason}\n" in listed
    assert reason in error("corpora", "show", "first:x")
    assert charrnn("corpora", "show", "third:x").stdout == "text"


def test_a_blocked_plugin_is_listed_as_such_and_an_unknown_name_is_said(install: Install) -> None:
    install("broken", "1 / 0")
    done = charrnn("corpora", "--block-plugin", "broken", "--block-plugin", "brokn", "--block-plugin", "python")
    assert "not loaded: broken (broken 1.0): blocked\nnot loaded: python (charrnn-lm 0.1.0): blocked\n" in done.stdout
    assert "python:" not in done.stdout.replace("python:PACKAGE", "")
    assert done.stderr == "--block-plugin brokn: no plugin of that name is installed: did you mean broken?\n"


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("haiku.py", "", "--plugin haiku.py: name the module as it is imported: haiku"),
        ("nowhere", "", "--plugin nowhere: ModuleNotFoundError: No module named 'nowhere'"),
        ("bad", "1 / 0", "--plugin bad: ZeroDivisionError: division by zero"),
        ("empty", "", "--plugin empty: it registers no corpus"),
        ("old", "", "--plugin old: it is loaded already: name it once, or block the installed one"),
    ],
)
def test_a_module_named_by_hand_that_does_not_work_is_an_error(
    install: Install, module: str, code: str, message: str
) -> None:
    install("old", yields("old"))
    if module in ("bad", "empty"):
        Path(f"{module}.py").write_text(code)
    assert message in error("corpora", "--plugin", module)


def test_a_module_named_by_hand_can_take_the_place_of_the_installed_one(install: Install) -> None:
    install("old", yields("poems", "installed"))
    # Its neighbours are there also when they are asked for late.
    Path("old.py").write_text(
        f"{REGISTER}    register('poems', poems)\n\ndef poems(argument):\n    import near\n    return [near.TEXT]\n"
    )
    Path("near.py").write_text("TEXT = 'mine'\n")
    assert charrnn("corpora", "show", "poems:x").stdout == "installed"
    assert charrnn("corpora", "show", "poems:x", "--plugin", "old", "--block-plugin", "old").stdout == "mine"


LOADERS = """
    for loader in (raises, late, exits, bytes_, number, row, string, nothing, pieces, options):
        register(loader.__name__.replace("_", "-"), loader)

def raises(argument): raise ValueError("two\\nlines")
def late(argument): yield (str(1 / number) for number in [1, 0])
def exits(argument): raise SystemExit(0)
def bytes_(argument): yield b"abc"
def number(argument): yield 5
def row(argument): yield {"text": "abc"}
def string(argument): return "abc"
def nothing(argument): pass
def pieces(argument): yield iter(["a", "", "b"]); yield ""; yield "c\\n"; yield ("d" for _ in range(2))
def options(argument, *, first="", second=""): yield argument + first + second
"""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("raises:x", "raises:x: the plugin odd 1.0 failed: ValueError: two lines"),
        ("late:x", "late:x: the plugin odd 1.0 failed: ZeroDivisionError: "),
        ("exits:x", "exits:x: the plugin odd 1.0 failed: SystemExit: 0"),
        ("bytes-:x", "the plugin odd yielded bytes, not text"),
        ("number:x", "the plugin odd 1.0 failed: TypeError: 'int' object is not iterable"),
        ("row:x", "the plugin odd yielded dict, not text"),
        ("string:x", "the plugin odd 1.0 failed: TypeError: it returned a string, not documents: yield it"),
        ("nothing:x", "the plugin odd 1.0 failed: TypeError: 'NoneType' object is not iterable"),
        ("options:x?third=z", "options has no option 'third': it takes first, second"),
        ("pieces:x?first=z", "pieces has no option 'first': it takes none"),
    ],
)
def test_a_loader_that_fails_is_blamed_in_one_line(install: Install, spec: str, message: str) -> None:
    install("odd", REGISTER + LOADERS)
    assert message in error("corpora", "show", spec)


def test_what_loaders_may_yield(install: Install) -> None:
    install("odd", REGISTER + LOADERS)
    assert charrnn("corpora", "show", "pieces:x").stdout == "ab\nc\ndd"
    assert charrnn("corpora", "show", "options:x?second=%26&first=é").stdout == "xé&"


def test_a_search_that_fails_stops_no_other(install: Install) -> None:
    install("fails", f"{REGISTER}    register('fails', list, search=lambda words: [1 / 0])\n")
    failure = "fails: search for 'a b': the plugin fails 1.0 failed: ZeroDivisionError: division by zero"
    assert failure in error("corpora", "search", "a b", "--block-plugin", "gutenberg")
    install("finds", f"{REGISTER}    register('finds', list, search=lambda words: [('finds:1', words)])\n")
    done = charrnn("corpora", "search", "a b", "--block-plugin", "gutenberg")
    assert (done.stdout, done.stderr) == ("finds:1  a b\n", f"{failure}\n")


def test_loading_all_bundled_plugins_imports_nothing_slow() -> None:
    code = (
        "import sys; from charrnn.text.plugins import Corpora; assert len(Corpora().schemes) >= 4;"
        "print({'torch', 'numpy', 'httpx', 'datasets', 'huggingface_hub'} & set(sys.modules))"
    )
    assert run([sys.executable], "-c", code).stdout == "set()\n"
