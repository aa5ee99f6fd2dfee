"""What of a folder is read, what is left out, and that the digest sees exactly that."""

import os

import pytest
from ddbias.base import folders
from ddbias.base.errors import DdbiasError
from PIL import Image


@pytest.fixture
def tree(tmp_path):
    for name in ("cat/a.png", "cat/b.JPG", "dog/c.jfif", "dog/d.avif", "dog/without_ending"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        form = {".JPG": "JPEG", ".jfif": "JPEG", ".avif": "AVIF"}.get(path.suffix, "PNG")
        Image.new("RGB", (4, 4)).save(path, form)
    (tmp_path / "data/list.csv").write_text("a,b\n")
    return tmp_path / "data"


def test_pictures_are_told_by_their_ending_or_their_first_bytes(tree):
    (tree / "dog/no_picture").write_text("words")
    (tree / "dog/x.heic").write_bytes(b"\0")
    (tree / "dog/y.HEIC").write_bytes(b"\0")
    found = folders.listing(tree)
    assert found.images == ["cat/a.png", "cat/b.JPG", "dog/c.jfif", "dog/d.avif", "dog/without_ending"]
    assert found.lists == ["list.csv"]
    assert found.left_out == {".heic": 2, "no ending": 1}


@pytest.mark.parametrize(
    "name", [".DS_Store", "cat/.~lock.a#", "Thumbs.db", "@eaDir/a.png/thumb.jpg", "__MACOSX/a.png"]
)
def test_what_systems_leave_behind_is_neither_read_nor_seen(tree, name):
    before = folders.listing(tree), folders.digest(tree)
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_bytes(b"\0")
    assert (folders.listing(tree), folders.digest(tree)) == before


def test_broken_links_and_pipes_neither_crash_nor_rerun(tree):
    before = folders.digest(tree)
    (tree / "cat/zz.png").symlink_to("/nowhere/at/all")
    (tree / "cat/.~lock").symlink_to("user@host:1234")
    os.mkfifo(tree / "cat/pipe")
    os.mkfifo(tree / "cat/pipe.png")
    assert folders.digest(tree) == before
    assert folders.listing(tree).left_out == {"broken link": 1, "no file": 2}


def test_the_digest_sees_what_is_read_behind_links_too(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "elsewhere/e.png")
    (tree / "bird").symlink_to(tmp_path / "elsewhere")
    assert "bird/e.png" in folders.listing(tree).images
    seen = [folders.digest(tree)]
    Image.new("RGB", (40, 4)).save(tmp_path / "elsewhere/e.png")
    seen.append(folders.digest(tree))
    (tree / "list.csv").write_text("a,b,c\n")
    seen.append(folders.digest(tree))
    (tree / "cat/a.png").unlink()
    seen.append(folders.digest(tree))
    assert len(set(seen)) == 4


def test_a_loop_is_told(tree):
    (tree / "cat/again").symlink_to(tree)
    with pytest.raises(DdbiasError, match="cat/again is a link to a folder that it lies in"):
        folders.listing(tree)


def test_of_a_loop_through_a_folder_the_link_is_named(tree):
    (tree / "cat/up").symlink_to(tree.parent)
    with pytest.raises(DdbiasError, match="cat/up is a link to a folder that it lies in"):
        folders.listing(tree)
