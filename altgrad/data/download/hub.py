"""Files of a dataset on the Hugging Face hub, checked against the hub's own manifest.

The first use asks the hub which commit a revision stands for and what files it holds, with their
sizes and sha256, and keeps that answer in the cache: from then on every download is checked against
it, and the same corpus stays the same. `$HF_ENDPOINT` names a mirror, as for the hub's own tools.

`huggingface_hub`, which brings models (`interchange/importing.py`), does not do this: it compares
sizes, not sha256; it keeps trying for long where a network is closed; and a file that somebody
brought by hand has no place in its cache.
"""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from altgrad.data.download.http import download_to, download_with_headers
from altgrad.data.errors import DataError
from altgrad.data.files import write_whole

PARALLEL_DOWNLOADS = 4
NEXT_PAGE = re.compile(r'<([^>]+)>;\s*rel="next"')


@dataclass(frozen=True)
class HubDataset:
    """Which files of which repository belong to which split; patterns match whole paths."""

    repository: str
    revision: str
    train: str
    val: str
    default_shards: int | None = None


@dataclass(frozen=True)
class HubFile:
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What the hub said a commit of a repository holds."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]

    def matching(self, pattern: str) -> list[HubFile]:
        found = [file for file in self.files if re.fullmatch(pattern, file.path)]
        if not found:
            raise DataError(f"{self.repository} at {self.commit[:12]} has no file like {pattern}")
        return sorted(found, key=lambda file: file.path)

    def url(self, file: HubFile) -> str:
        return f"{endpoint()}/datasets/{self.repository}/resolve/{self.commit}/{quote(file.path)}"


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def manifest_path(folder: Path) -> Path:
    return folder / "manifest.json"


def load_manifest(dataset: HubDataset, folder: Path) -> Manifest:
    """The manifest kept in `folder`, asked from the hub the first time."""
    path = manifest_path(folder)
    if not path.is_file():
        try:
            content = json.dumps(_ask_manifest(dataset), indent=1).encode()
        except DataError as error:
            raise DataError(
                f"cannot ask {endpoint()} for the files of {dataset.repository}: {error}; set "
                "$HF_ENDPOINT to a mirror, or bring the files from any machine and use "
                "data.path=TRAIN_FILES data.val_path=VAL_FILES"
            ) from error
        write_whole(path, content)
    try:
        content = json.loads(path.read_text())
        files = tuple(HubFile(**file) for file in content["files"])
        return Manifest(content["repository"], content["commit"], files)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and try again") from error


def _ask_manifest(dataset: HubDataset) -> dict[str, Any]:
    base = f"{endpoint()}/api/datasets/{dataset.repository}"
    revision, _ = _json(f"{base}/revision/{quote(dataset.revision, safe='')}")
    commit = revision["sha"]
    url: str | None = f"{base}/tree/{commit}?recursive=true"
    files = []
    while url:
        page, url = _json(url)
        # Only files in large-file storage have a sha256; the data files of a corpus all are.
        files += [
            {"path": entry["path"], "size_bytes": entry["size"], "sha256": entry["lfs"]["oid"]}
            for entry in page
            if entry.get("lfs")
        ]
    return {"repository": dataset.repository, "commit": commit, "files": files}


def _json(url: str) -> tuple[Any, str | None]:
    """A page of the hub's API and the address of the next one."""
    content, headers = download_with_headers(url)
    try:
        page = json.loads(content)
    except ValueError as error:
        raise DataError(f"{url} did not answer with JSON") from error
    following = NEXT_PAGE.search(headers.get("Link") or "")
    return page, following.group(1) if following else None


def fetch_files(
    manifest: Manifest,
    files: list[HubFile],
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Download `files` in parallel into `folder`, each checked, those already there kept.

    `progress` counts bytes. Raises DataError with the first file's failure and the way by hand.
    """
    total, done, lock = sum(file.size_bytes for file in files), 0, Lock()

    def count(added: int) -> None:
        nonlocal done
        with lock:
            done += added
            if progress:
                progress(done, total)

    def one(file: HubFile) -> Path:
        target = folder / file.path
        url = manifest.url(file)
        try:
            download_to(target, url, sha256=file.sha256, size_bytes=file.size_bytes, count=count)
        except DataError as error:
            raise DataError(
                f"cannot get {url}: {error}; try again to go on where it stopped, or put the file "
                f"at {target} by hand ({file.size_bytes:,} bytes, sha256 {file.sha256})"
            ) from error
        return target

    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        jobs = [pool.submit(one, file) for file in files]
        try:
            return [job.result() for job in jobs]
        finally:
            pool.shutdown(cancel_futures=True)
