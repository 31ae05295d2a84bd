"""The site's links to files outside docs/: those files travel with it, as text (mkdocs' hooks)."""

import re
from pathlib import Path

from mkdocs.structure.files import File

HOUSE = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#\s]+)\)")


def on_files(files, config):
    """Adds each file that a page names outside docs/, as `source/PATH.txt`."""
    pages = [page.content_string for page in files.documentation_pages()]
    named = {place for page in pages for _, place in OUTSIDE.findall(page)}
    for place in sorted(named):
        path = HOUSE / place
        if path.is_file():
            files.append(File.generated(config, f"source/{place}.txt", content=path.read_text()))
    return files


def on_page_markdown(markdown, **_):
    return OUTSIDE.sub(inside, markdown)


def inside(link: re.Match) -> str:
    """The link into the site; a folder's becomes its words."""
    words, place = link.groups()
    return f"[{words}](source/{place}.txt)" if (HOUSE / place).is_file() else words
