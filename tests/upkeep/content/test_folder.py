from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.sample_content import edited, encode, good_content, write
from upkeep.content import folder
from upkeep.content.folder import Content, ContentFiles, read_folder
from upkeep.errors import UpkeepError


def test_a_folder_is_read_as_it_is(tmp_path: Path) -> None:
    files = good_content()
    files["assets/deep/er/picture.png"] = b"\x00\xff"
    read = read_folder(write(files, tmp_path))
    assert read == files
    assert list(read) == sorted(files)
    assert read.refused == ()


def test_a_link_that_leaves_the_folder_is_refused_and_one_that_stays_is_followed(tmp_path: Path) -> None:
    root = write(good_content(), tmp_path / "content")
    (tmp_path / "secret").write_text("secret")
    (root / "home" / "out.md").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    (root / "nothing").symlink_to(root / "absent")
    (root / "same").symlink_to(root / "checkout")
    read = read_folder(root)
    assert {item.path: item.reason for item in read.refused} == {
        "home/out.md": "link_leaves_folder",
        "up": "link_leaves_folder",
        "nothing": "broken_link",
    }
    assert read["same/events.json"] == read["checkout/events.json"]
    assert b"secret" not in read.values()


def test_a_link_to_its_own_parent_ends(tmp_path: Path) -> None:
    root = write(good_content(), tmp_path / "content")
    (root / "home" / "again").symlink_to(root)
    read = read_folder(root)
    assert [item.reason for item in read.refused] == ["too_large"]
    assert "home/again/flows.json" in read


def test_what_is_no_file_or_has_an_impossible_name_is_refused(tmp_path: Path) -> None:
    root = write(good_content(), tmp_path)
    os.mkfifo(root / "pipe")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.json")).write_bytes(b"{}")
    assert {item.reason for item in read_folder(root).refused} == {"not_a_file", "bad_file_name"}


def test_a_large_file_is_refused_without_being_read(tmp_path: Path) -> None:
    root = write(good_content(), tmp_path)
    with (root / "huge.json").open("wb") as file:
        file.truncate(folder.MAX_FILE_BYTES + 1)
    read = read_folder(root)
    assert [(item.path, item.reason) for item in read.refused] == [("huge.json", "too_large")]
    assert "huge.json" not in read


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpkeepError, match="does not exist") as caught:
        read_folder(tmp_path / "absent")
    assert caught.value.reason == "content.no_folder"


def test_a_key_without_an_entry_stands_for_a_folder_of_its_own_name() -> None:
    content = Content(good_content())
    assert content.slugs == {"checkout": "pay", "home": "home"}
    assert {slug: flow.key for slug, flow in content.flows.items()} == {"checkout": "pay", "home": "home"}
    assert (content.slug_of("pay"), content.slug_of("home")) == ("checkout", "home")


def test_events_keep_their_exact_names_and_places() -> None:
    flow = Content(good_content()).flows["checkout"]
    assert [event.name for event in flow.events] == ["cart opened", "payment  done", "help asked "]
    assert [event.pointer for event in flow.events] == ["/events/0", "/events/1", "/events/2"]
    assert flow.trimmed_names == {"cart opened", "payment  done", "help asked"}


def test_a_folder_that_nobody_lists_is_a_flow_without_a_key() -> None:
    files = {**good_content(), "stray/events.json": encode({"events": [{"name": "x"}]})}
    flow = Content(files).flows["stray"]
    assert (flow.key, sorted(flow.names)) == (None, ["x"])


@pytest.mark.parametrize(
    "broken", [b"", b"null", b"[]", b'"x"', b"\xff", b"{", b'{"events": {}}', b'{"events": [1, {}]}']
)
def test_a_broken_file_leaves_the_rest_readable(broken: bytes) -> None:
    content = Content({**good_content(), "checkout/events.json": broken})
    assert content.flows["checkout"].events == ()
    assert content.names == {"home opened"}


def test_well_formed_events_are_kept_beside_malformed_ones() -> None:
    files = edited("home/events.json", lambda flow: flow["events"].extend([1, {"name": ""}, {"name": "last"}]))
    assert [(event.index, event.name) for event in Content(files).flows["home"].events] == [
        (0, "home opened"),
        (3, "last"),
    ]


def test_files_without_refusals_are_a_plain_mapping() -> None:
    assert ContentFiles({"a": b"1"}) == {"a": b"1"}
    assert ContentFiles().refused == ()
