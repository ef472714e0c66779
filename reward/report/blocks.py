"""What a page is made of: sections of paragraphs, lists, tables and pictures. The templates say how each looks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reward.evaluation.estimates import Estimate
from reward.report.text import places, readable

_INTERVAL = re.compile(r"(\([^()]*interval[^()]*\))")  # in a sentence: set back, so that the statement stands out


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text.

    Attributes:
        text: the sentences.
        strong: words in front of them, in bold.
        warning: it is marked as a warning.
    """

    kind: ClassVar[str] = "paragraph"
    text: str = ""
    strong: str = ""
    warning: bool = False


@dataclass(frozen=True)
class Bullets:
    """Sentences as a list."""

    kind: ClassVar[str] = "bullets"
    sentences: tuple[str, ...]

    @property
    def parts(self) -> list[list[str]]:
        """Each sentence, cut around the intervals in brackets: every second part is one."""
        return [_INTERVAL.split(sentence) for sentence in self.sentences]


@dataclass(frozen=True)
class Legend:
    """What each colour of a picture means: the colour's name and a label."""

    kind: ClassVar[str] = "legend"
    marks: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cell:
    """What a cell of a table shows: a value, and small notes under it."""

    value: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header, each row with its name in front.

    Attributes:
        header: the names of the columns, the first that of the rows' names.
        rows: name and cells.
        emphasized: the name of the row that stands out.
    """

    kind: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    emphasized: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing in SVG, with the ids and the colours of the page.

    Attributes:
        label: what it shows, for those who do not see it.
        view_box: its extent.
        body: SVG, what stands between the opening and the closing tag; it is put on the page as it is.
    """

    kind: ClassVar[str] = "picture"
    label: str
    view_box: str
    body: str


Block = Heading | Paragraph | Bullets | Legend | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading, what is shown under it, and blocks."""

    heading: str
    lead: str
    blocks: tuple[Block, ...]


Row = tuple[str, Sequence[Cell | str]]  # a name and what stands beside it


def section(heading: str, lead: str, *blocks: Block) -> Section:
    """A section of these blocks."""
    return Section(heading, lead, blocks)


def bullets(sentences: Iterable[str]) -> Bullets:
    """A list of these sentences."""
    return Bullets(tuple(sentences))


def tabled(header: Sequence[str], rows: Iterable[Row], emphasized: str = "") -> Table:
    """A table, of rows whose cells may be plain text."""
    cells = tuple((name, tuple(it if isinstance(it, Cell) else Cell(it) for it in row)) for name, row in rows)
    return Table(tuple(header), cells, emphasized)


def cells_of(estimates: Sequence[Estimate | None]) -> list[Cell]:
    """Values above their intervals, a column of a table."""
    decimals = places(it for it in estimates if it is not None)
    return [cell_of(it, decimals) for it in estimates]


def cell_of(estimate: Estimate | None, decimals: int) -> Cell:
    """A value above its interval, or a dash."""
    if estimate is None or estimate.value is None:
        return Cell("–")
    ends = None if estimate.interval is None else [readable(end, decimals) for end in estimate.interval]
    return Cell(readable(estimate.value, decimals), ("no interval" if ends is None else " to ".join(ends),))


def rows_of(names: Sequence[str], columns: Sequence[Sequence[Estimate | None]]) -> list[Row]:
    """Columns of estimates as rows of `tabled`, a name each."""
    return list(zip(names, zip(*map(cells_of, columns), strict=True), strict=True))
