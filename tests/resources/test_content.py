"""The desk of a content run."""

from resources.content import subject_of


def test_a_watch_has_a_subject_of_its_own_kind() -> None:
    assert subject_of("app") == "watch:app"
