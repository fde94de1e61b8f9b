"""WikiText comes as lines; documents are articles."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

_TITLE = re.compile(r" = (?!=).*(?<!=) = \n?")


def documents_from_rows(rows: Iterable[str]) -> Iterator[str]:
    """The documents in the rows of a data set: each row, or, in data laid out like WikiText, each article.

    Raw WikiText (Merity et al., 2016, arXiv:1609.07843) has one line of an article in a row. It is recognised by its
    first row with any text in it, which is a title such as `` = Robert Boulter = `` (sections are
    `` = = Career = = ``); then rows are joined from one title to the next.
    """
    rows = itertools.dropwhile(lambda row: not row.strip(), rows)
    first = next(rows, None)
    if first is not None:
        all_rows = itertools.chain([first], rows)
        yield from articles(all_rows) if _TITLE.fullmatch(first) else all_rows


def articles(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to articles, each starting at its title.

    A title stands between blank lines: a line inside an article that merely looks like one begins nothing. Every line
    ends with one newline in the result, also where the rows came without.
    """
    article: list[str] = []
    after_blank = True
    padded = itertools.chain(lines, [""])
    for line, following in itertools.pairwise(padded):
        blank = not line.strip()
        if after_blank and not blank and _TITLE.fullmatch(line) and not following.strip() and article:
            yield "".join(article)
            article = []
        article.append(line if line.endswith("\n") else line + "\n")
        after_blank = blank
    if article:
        yield "".join(article)
