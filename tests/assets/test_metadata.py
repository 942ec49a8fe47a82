"""What of a record is shown in the UI."""

from hypothesis import given, settings
from hypothesis import strategies as st

from assets.metadata import MARKDOWN_SHOWN, ROWS_SHOWN, findings, markdown, of_change_set, of_head, place, table
from upkeep.content.records import ChangeSet, UpstreamHead
from upkeep.content.report import Finding

A, B = "a" * 40, "b" * 40


def test_numbers_stay_numbers_so_that_they_plot() -> None:
    shown = of_change_set(
        ChangeSet(watch="app", decision="update", reason="", base=A, head=B, commit_count=7, files_changed=3), None
    )

    assert (shown["commits"], shown["behind_by"], shown["files_changed"]) == (7, 7, 3)
    assert shown["range"] == f"{A[:12]}..{B[:12]}"


def test_commits_are_links_where_the_upstream_has_a_page() -> None:
    head = UpstreamHead(watch="app", branch="main", sha=A)

    assert of_head(head, "https://git.example/app")["commit"].value == f"https://git.example/app/commit/{A}"
    assert of_head(head, None)["commit"].value == A


def test_a_range_from_the_beginning_has_no_comparison() -> None:
    shown = of_change_set(ChangeSet(watch="app", decision="update", reason="", head=B), "https://git.example/app")

    assert "compare" not in shown
    assert shown["range"] == f"beginning..{B[:12]}"


def test_a_finding_is_shown_with_its_place() -> None:
    found = Finding(
        code="unknown_event", severity="error", file="search/events.json", line=4, pointer="/x", message="m"
    )
    known = found.model_copy(update={"existing": True, "severity": "warning", "line": None, "pointer": ""})

    rows = [dict(record.data) for record in findings([found, known]).records]
    assert [row["place"] for row in rows] == ["search/events.json:4 /x", "search/events.json"]
    assert [row["severity"] for row in rows] == ["error", "warning (existing)"]
    assert place(found) == "search/events.json:4 /x"


cells = st.one_of(st.integers(-(10**6), 10**6), st.text(max_size=5))


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(cells, cells), max_size=ROWS_SHOWN + 20))
def test_a_table_of_any_length_and_mixture_fits_its_schema(rows: list[tuple[int | str, int | str]]) -> None:
    made = table(("one", "two"), rows)

    assert len(made.records) == min(len(rows), ROWS_SHOWN) + (len(rows) > ROWS_SHOWN)
    types = {column.name: column.type for column in made.schema.columns}
    for record in made.records[:ROWS_SHOWN]:
        for name, value in record.data.items():
            assert isinstance(value, int if types[name] == "int" else str)
    if len(rows) > ROWS_SHOWN:
        assert f"and {len(rows) - ROWS_SHOWN} more" in str(made.records[-1].data["one"])


def test_a_long_body_is_cut() -> None:
    assert markdown("x" * MARKDOWN_SHOWN).value == "x" * MARKDOWN_SHOWN
    assert str(markdown("x" * (MARKDOWN_SHOWN + 1)).value).endswith("cut here")
