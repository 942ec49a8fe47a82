"""Records between assets, by real materializations."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from dagster import (
    AssetCheckResult,
    AssetIn,
    AssetsDefinition,
    DagsterInstance,
    ExecuteInProcessResult,
    MaterializeResult,
    PreviewWarning,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    materialize,
)
from pydantic import BaseModel, RootModel

from orchestration.io import NO_PARTITION, RecordIOManager, record_io_manager, table_name
from tests.support.waiting import until
from upkeep.config import Settings
from upkeep.database.server import Database
from upkeep.errors import DatabaseError, StateCorrupt

WATCHES = StaticPartitionsDefinition(["a", "b"])


class Head(BaseModel):
    sha: str
    paths: tuple[str, ...] = ()


class Heads(RootModel[list[Head]]):
    pass


@pytest.fixture
def manager(database_url: str, tmp_path: Path) -> RecordIOManager:
    return record_io_manager(Settings(home=tmp_path, database_url=database_url))


def run(
    manager: RecordIOManager, *assets: Any, selection: list[str] | None = None, partition: str | None = None
) -> ExecuteInProcessResult:
    with DagsterInstance.ephemeral() as instance:
        return materialize(
            list(assets),
            resources={"io_manager": manager},
            selection=selection,
            partition_key=partition,
            instance=instance,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )


def handed_over(manager: RecordIOManager, kind: Any, value: Any, returned: Any = None) -> Any:
    """What an asset that asks for `kind` gets when the one above it returned `value`."""
    seen: list[Any] = []

    def above():  # type: ignore[no-untyped-def]
        return value

    def below(above):  # type: ignore[no-untyped-def]
        seen.append(above)

    above.__annotations__["return"] = returned or kind
    below.__annotations__["above"] = kind
    run(manager, asset(above), asset(below))
    return seen[0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Head, Head(sha="a", paths=("x", "y"))),
        (list[Head], [Head(sha="a"), Head(sha="b")]),
        (dict[str, Head], {"one": Head(sha="a")}),
        (Heads, Heads([Head(sha="a")])),
        (str, "plain"),
        (dict[str, int], {}),
        (list[Head], []),
    ],
)
def test_a_value_comes_back_as_the_type_that_the_annotation_says(
    manager: RecordIOManager, kind: Any, value: Any
) -> None:
    assert handed_over(manager, kind, value) == value


@pytest.mark.parametrize("value", [None, Head(sha="a")])
def test_an_optional_value_comes_back(manager: RecordIOManager, value: Head | None) -> None:
    assert handed_over(manager, Head | None, value) == value


def test_the_value_of_a_materialize_result_comes_back(manager: RecordIOManager) -> None:
    result = MaterializeResult(value=Head(sha="a"), metadata={"n": 1})
    assert handed_over(manager, Head, result, MaterializeResult[Head]) == Head(sha="a")


def test_text_that_json_refuses_comes_back(manager: RecordIOManager) -> None:
    path = b"caf\xe9\x00".decode(errors="surrogateescape")
    assert handed_over(manager, Head, Head(sha="a", paths=(path,))) == Head(sha="a", paths=(path,))


def test_an_input_without_a_type_is_refused(manager: RecordIOManager) -> None:
    @asset
    def above() -> Head:
        return Head(sha="a")

    @asset
    def below(above):  # type: ignore[no-untyped-def]
        raise AssertionError("not reached")

    with pytest.raises(DatabaseError, match="has no type") as refused:
        run(manager, above, below)
    assert refused.value.reason == "records.untyped"


def counting(shas: Iterator[str]) -> tuple[AssetsDefinition, AssetsDefinition, list[str]]:
    seen: list[str] = []

    @asset(key=["content", "head"], partitions_def=WATCHES)
    def head() -> Head:
        return Head(sha=next(shas))

    @asset(key=["content", "seen"], ins={"head": AssetIn(["content", "head"])}, partitions_def=WATCHES)
    def below(head: Head) -> None:
        seen.append(head.sha)

    return head, below, seen


def test_a_record_of_the_same_run_comes_before_a_newer_one_and_partitions_are_apart(
    manager: RecordIOManager, database: Database
) -> None:
    head, below, seen = counting(iter("123"))
    run(manager, head, selection=["content/head"], partition="a")
    run(manager, head, selection=["content/head"], partition="b")
    run(manager, head, below, selection=["content/seen"], partition="a")
    assert seen == ["1"], "the newest of its partition"
    run(manager, head, below, partition="a")
    assert seen == ["1", "3"]
    with database.session() as session:
        found = session.execute(sa.text("SELECT asset, partition, body FROM upkeep.records ORDER BY id")).all()
    assert [(row.asset, row.partition, row.body["sha"]) for row in found] == [
        ("content/head", "a", "1"),
        ("content/head", "b", "2"),
        ("content/head", "a", "3"),
    ]


def test_a_missing_record_says_what_to_materialize(manager: RecordIOManager) -> None:
    head, below, _ = counting(iter("1"))
    run(manager, head, selection=["content/head"], partition="b")
    with pytest.raises(DatabaseError, match="no record of content/head of the partition a") as missing:
        run(manager, head, below, selection=["content/seen"], partition="a")
    assert missing.value.reason == "records.missing"


def test_a_record_of_another_shape_says_so(manager: RecordIOManager, database: Database) -> None:
    head, below, _ = counting(iter("1"))
    run(manager, head, selection=["content/head"], partition="a")
    with database.session() as session:
        session.execute(sa.text("UPDATE upkeep.records SET body = '{\"commit\": 1}'"))
    with pytest.raises(StateCorrupt, match="is no Head: sha: Field required"):
        run(manager, head, below, selection=["content/seen"], partition="a")


def test_an_unpartitioned_asset_gets_every_partition_that_has_a_record(manager: RecordIOManager) -> None:
    seen: list[dict[str, Head]] = []
    head, _, _ = counting(iter("1"))

    @asset(ins={"heads": AssetIn(["content", "head"])})
    def summary(heads: dict[str, Head]) -> None:
        seen.append(heads)

    run(manager, head, selection=["content/head"], partition="b")
    run(manager, head, summary, selection=["summary"])
    assert seen == [{"b": Head(sha="1")}]


def test_a_check_loads_the_record_of_its_partition(manager: RecordIOManager) -> None:
    head, _, _ = counting(iter("7"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)

        @asset_check(asset=["content", "head"], partitions_def=WATCHES)
        def is_seven(head: Head) -> AssetCheckResult:
            return AssetCheckResult(passed=head.sha == "7")

    result = run(manager, head, is_seven, partition="a")
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]


def frame_assets(frames: Iterator[pd.DataFrame]) -> tuple[AssetsDefinition, AssetsDefinition, list[pd.DataFrame]]:
    seen: list[pd.DataFrame] = []

    @asset(key=["metrics", "Sizes"], partitions_def=WATCHES)
    def sizes() -> pd.DataFrame:
        return next(frames)

    @asset(ins={"sizes": AssetIn(["metrics", "Sizes"])}, partitions_def=WATCHES)
    def below(sizes: pd.DataFrame) -> None:
        seen.append(sizes)

    return sizes, below, seen


def test_a_data_frame_is_a_table_for_analysts(manager: RecordIOManager, database: Database) -> None:
    frames = [
        pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02"]), "lines": [1, 2]}),
        pd.DataFrame({"day": pd.to_datetime(["2026-01-03"]), "lines": [3], "author": ["x"]}),
        pd.DataFrame({"day": pd.to_datetime(["2026-01-04"]), "lines": [4]}),
    ]
    sizes, below, seen = frame_assets(iter(frames))
    run(manager, sizes, below, partition="a")
    run(manager, sizes, below, partition="b")
    run(manager, sizes, below, partition="a")
    pd.testing.assert_frame_equal(seen[0], frames[0], check_dtype=False)
    pd.testing.assert_frame_equal(seen[1], frames[1], check_dtype=False)
    assert seen[2]["lines"].tolist() == [4], "what the partition held before is replaced"
    engine = sa.create_engine(database.analyst_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        query = "SELECT partition_key, lines, author FROM metrics.metrics_sizes ORDER BY 1"
        assert connection.exec_driver_sql(query).all() == [("a", 4, None), ("b", 3, "x")]


def test_a_data_frame_that_was_never_made_is_missing(manager: RecordIOManager) -> None:
    sizes, below, _ = frame_assets(iter([]))
    with pytest.raises(DatabaseError, match=r"no table metrics\.metrics_sizes"):
        run(manager, sizes, below, selection=["below"], partition="a")


def test_a_name_that_postgresql_would_cut_is_refused() -> None:
    with pytest.raises(DatabaseError, match="too long"):
        table_name(asset(key=["x" * 64])(lambda: None).key)  # type: ignore[arg-type, return-value]
    assert NO_PARTITION == ""


def test_the_database_is_given_back_after_the_run(manager: RecordIOManager, database: Database) -> None:
    assert handed_over(manager, str, "x") == "x"
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )

    def nobody_is_connected() -> bool:
        with database.session() as session:
            return session.execute(sa.text(query)).scalar() == 0

    until(nobody_is_connected)  # a backend ends a little after its client has hung up
