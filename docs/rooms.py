"""Draws the rooms of charrnn and the imports between them, from the code itself, as an SVG for light and dark pages.

    python docs/rooms.py docs/rooms.svg

A room is an entry of charrnn/. Its place comes from the layers in pyproject.toml, what is in it from its folder, its
arrows from its import statements; those that only type checkers read do not count. Run it again when a test says that
the picture is not that of the code.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "charrnn"

WIDTH, MARGIN = 880, 24
BOX, ENTRANCE = 304, 282
"""The width of a box, and where in its roof the wire to it arrives: to the right of all boxes above."""
LINE, PADDING, BESIDE, BELOW = 17, 10, 8, 24
"""The height of a line, the space around text, between the rooms of one layer, and between layers."""
CHARACTERS = 38
"""Of names in a line."""

STYLE = """
  svg { --paper: #fdfcf9; --ink: #24292f; --faint: #6e7781; --line: #d8dadd; --accent: #b8480f; --soft: #a9b1ba;
    --room: #ffffff; --layer: #f1eee5 }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #161b22; --ink: #e6edf3; --faint: #8b949e; --line: #343b44; --accent: #ff9d5c; --soft: #59626d;
      --room: #21262d; --layer: #1c222b }
  }
  text { font: 13px system-ui, sans-serif; fill: var(--ink) } .faint { fill: var(--faint) }
  .code { font: 12px ui-monospace, Menlo, Consolas, monospace; white-space: pre } .name { font-weight: 600 }
  path { fill: none; stroke: var(--soft); stroke-width: 1.25 } circle, .head { fill: var(--accent); stroke: none }
  rect { fill: var(--room); stroke: var(--soft) } .paper { fill: var(--paper); stroke: var(--line) }
  .layer { fill: var(--layer); stroke: none } .strangers { stroke-dasharray: 5 4 }
"""

LEGEND = """\
A wire leads out of each room to the right, and one down into it. A dot joins two: the room at the left imports the
one below. Rooms on one shaded ground do not know each other. What is loaded by name when it is asked for, such as a
command by cli/, has no wire."""
STRANGERS = """\
Strangers, found by entry points:
they import the contract alone,
and nothing imports them."""


@dataclass
class Room:
    """A box: its name, what is in it, and the rooms it imports."""

    name: str
    contents: list[str]
    imports: set[str]
    x: float = MARGIN
    y: float = 0
    least: float = 0

    @property
    def lines(self) -> list[str]:
        """The contents, cut into lines; what belongs to one name stays together."""
        return textwrap.wrap("  ".join(self.contents), CHARACTERS, break_on_hyphens=False)

    @property
    def height(self) -> float:
        """The height of the box."""
        return max(self.least, 2 * PADDING + LINE * (1 + len(self.lines)) - 2)

    @property
    def middle(self) -> float:
        """The height at which its wire leaves the box."""
        return self.y + self.height / 2

    @property
    def entrance(self) -> float:
        """Where the wire of those that import it comes down."""
        return self.x + ENTRANCE


def layers() -> list[list[str]]:
    """The rooms of each layer as the import linter has them, from the top; below all is the package's own module."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = [each for each in settings["contracts"] if each["type"] == "layers"]
    return [*(re.findall(rf"{PACKAGE}\.(\w+)", layer) for layer in contract["layers"]), [PACKAGE]]


def imported(path: Path) -> set[str]:
    """Every name that a module imports, with where from; not what only type checkers see."""

    def found(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(str(module), names, 0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.If(ast.Name("TYPE_CHECKING")):
                pass
            case _:
                for child in ast.iter_child_nodes(node):
                    yield from found(child)

    return set(found(ast.parse(path.read_text(encoding="utf-8"))))


def rooms_imported(paths: Iterable[Path], known: set[str]) -> set[str]:
    """The rooms that modules import; a name of the package that is no room is the package's own."""
    names = [name.split(".") for path in paths for name in imported(path)]
    return {name[1] if name[1:2] and name[1] in known else PACKAGE for name in names if name[0] == PACKAGE}


def modules(folder: Path) -> list[str]:
    """The names of a folder's modules and packages."""
    found = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return sorted(f"{path.name}/" if path.is_dir() else path.stem for path in found if path.stem != "__init__")


def names_lent(path: Path) -> list[str]:
    """The public names that a package takes from its rooms, each as itself, when they are first used."""
    statements = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "names")]
    return sorted(alias.asname for node in statements for alias in node.names if alias.asname)


def read(name: str, known: set[str]) -> Room:
    """What there is to say of a room: a package, a module, or the package's own module."""
    path = ROOT / PACKAGE / name
    if name == PACKAGE:
        path = path.with_name("__init__.py")
        return Room(f"{PACKAGE}/{path.name}", names_lent(path), rooms_imported([path], known))
    if path.is_dir():
        return Room(f"{name}/", modules(path), rooms_imported(path.rglob("*.py"), known) - {name})
    path = path.with_suffix(".py")
    return Room(path.name, [], rooms_imported([path], known))


def text_at(x: float, y: float, text: str, style: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" class="{style}" xml:space="preserve">{escape(text)}</text>'


def paragraph(x: float, y: float, text: str) -> list[str]:
    """Lines of text, each under the other."""
    return [text_at(x, y + LINE * row, line, "faint") for row, line in enumerate(text.splitlines()) if line]


def box(room: Room, style: str = "") -> list[str]:
    """A room, its name and what is in it."""
    parts = [f'<rect x="{room.x:g}" y="{room.y:g}" width="{BOX}" height="{room.height:g}" rx="6" class="{style}"/>']
    left, top = room.x + PADDING + 2, room.y + PADDING + 11
    parts += [text_at(left, top, room.name, "code name")]
    return parts + [text_at(left, top + LINE * (1 + row), line, "code faint") for row, line in enumerate(room.lines)]


def wire(*points: tuple[float, float]) -> str:
    """A line through points."""
    return f'<path d="M{" L".join(f"{x:g},{y:g}" for x, y in points)}"/>'


def arrow(start: tuple[float, float], end: tuple[float, float]) -> list[str]:
    """A wire straight down or to the right, with a head."""
    x, y = end
    is_down = start[0] == x
    back = [(x - 4, y - 8), (x + 4, y - 8)] if is_down else [(x - 8, y - 4), (x - 8, y + 4)]
    head = " ".join(f"L{a:g},{b:g}" for a, b in back)
    return [wire(start, (x, y - 8) if is_down else (x - 8, y)), f'<path class="head" d="M{x:g},{y:g} {head} Z"/>']


def wires(rooms: dict[str, Room]) -> list[str]:
    """One wire to the right of each room, one down into each, and a dot where they are joined: an import."""
    lines, dots = [], []
    for room in rooms.values():
        targets = [rooms[name] for name in room.imports]
        if backwards := [target.name for target in targets if target.y <= room.y]:
            raise ValueError(f"{room.name} imports {backwards}, which are not below it")
        if targets:
            furthest = max(target.entrance for target in targets)
            lines += [wire((room.x + BOX, room.middle), (furthest, room.middle))]
        dots += [f'<circle cx="{target.entrance:g}" cy="{room.middle:g}" r="4"/>' for target in targets]
    for name, room in rooms.items():
        if above := [other.middle for other in rooms.values() if name in other.imports]:
            lines += arrow((room.entrance, min(above)), (room.entrance, room.y))
    return lines + sorted(dots)


def picture() -> str:
    """The SVG of the code as it is."""
    levels = layers()
    known = {name for layer in levels for name in layer}
    rooms = {name: read(name, known) for layer in levels for name in layer}
    step = (WIDTH - 2 * MARGIN - BOX) // (len(rooms) - 1)
    for index, room in enumerate(rooms.values()):
        room.x = MARGIN + step * index
    bottom = float(MARGIN + BESIDE)
    grounds = []
    for layer in levels:
        top = bottom
        for name in layer:
            rooms[name].y = bottom
            bottom += rooms[name].height + BESIDE
        first = rooms[layer[0]].x - BESIDE
        if len(layer) > 1:
            shape = f'width="{WIDTH - MARGIN + BESIDE - first:g}" height="{bottom - top + BESIDE:g}" rx="10"'
            grounds += [f'<rect x="{first:g}" y="{top - BESIDE:g}" {shape} class="layer"/>']
        bottom += BELOW - BESIDE
    height = bottom - BELOW + MARGIN

    folder = ROOT / "plugins"
    plugins = Room("plugins/", modules(folder), rooms_imported(folder.rglob("*.py"), known))
    reached = sorted((rooms[name] for name in plugins.imports), key=lambda room: room.y)
    plugins.y = reached[0].y
    plugins.least = reached[-1].y + reached[-1].height - plugins.y
    under = plugins.y + PADDING + 11 + LINE * (2 + len(plugins.lines))
    parts = [*box(plugins, "strangers"), *paragraph(plugins.x + PADDING + 2, under, STRANGERS)]
    for room in reached:
        parts += arrow((plugins.x + BOX, room.middle), (room.x, room.middle))
    paper = height + LINE * len(LEGEND.splitlines())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {paper:g}" role="img">',
            "<title>The rooms of charrnn, each importing only from those below it</title>",
            f"<style>{STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{paper - 1:g}" rx="10" class="paper"/>',
            *grounds,
            *wires(rooms),
            *(part for room in rooms.values() for part in box(room)),
            *parts,
            *paragraph(MARGIN, height, LEGEND),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(), encoding="utf-8")
