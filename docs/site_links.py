"""The site's links to files outside docs/: those files travel with it, as text (mkdocs' hooks)."""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

HOUSE = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)\)")


def on_files(files, config):
    """Adds each file that a page names outside docs/, as `source/PATH.txt`."""
    named = set()
    for page in files.documentation_pages():
        places = (outside(page.src_uri, place) for _, place in LINK.findall(page.content_string))
        named |= {place for place in places if place and (HOUSE / place).is_file()}
    for place in sorted(named):
        text = (HOUSE / place).read_text()
        files.append(File.generated(config, f"source/{place}.txt", content=text))
    return files


def outside(page: str, place: str) -> str | None:
    """Where a page's link leads, from the repository's root; None if that is inside docs/."""
    path = os.path.normpath(PurePosixPath("docs", page).parent / place)
    return None if path.startswith("docs/") else path


def on_page_markdown(markdown, *, page, **_):
    return LINK.sub(lambda link: inside(link, page.file.src_uri), markdown)


def inside(link: re.Match, page: str) -> str:
    """The link into the site; a folder's becomes its words."""
    words, place = link.groups()
    path = outside(page, place)
    if path is None:
        return link[0]
    up = "../" * (len(PurePosixPath(page).parts) - 1)
    return f"[{words}]({up}source/{path}.txt)" if (HOUSE / path).is_file() else words
