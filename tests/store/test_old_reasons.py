"""Reasons of old databases were sentences; they come back as what they say."""

from collections.abc import Iterator
from importlib import import_module

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import given
from hypothesis import strategies as st

from phonelm_search.core.reason import Reason
from phonelm_search.store import schema as t
from phonelm_search.store.migrations.old_reasons import reason_of

AGAIN = "measure again (`search` or `profile` with --remeasure)"
COOLER = "let the device cool down, or fix its governor"
SMALLER = "close programs or use a smaller precision"
WORDINGS = {
    "a sample is not positive: the device's clock cannot be trusted": "clock",
    "the reference shape was 31.0% slower than usual, more than 10%; wait until the machine is "
    "quiet": "drift-slower",
    "the reference shape was 31.0% faster than usual, more than 10%; the machine's speed changes; "
    "fix its frequency": "drift-faster",
    "the read bandwidth was 70% off the usual, more than 20%: cores were moved or memory is in use "
    "elsewhere; measure at a quieter time": "bandwidth",
    "only 4 samples, fewer than 5": "few-samples",
    "the warm-up did not settle: the machine's speed changes": "unsettled",
    "copies stream 1.2 GB, less than 6 times the cache of 260 MB": "small-rotation",
    "copies stream 300 B, less than 6 times the cache of 51 B": "small-rotation",
    f"other processes took 15% of the processor, more than 10%; close other programs and {AGAIN}":
        "other-processes",
    "other guests of this host took 12% of the processor, more than 10%; measure at a quieter time":
        "other-guests",
    f"the runner had only 85% of its cores' time; close other programs and {AGAIN}": "taken-cores",
    f"the processor's frequency fell from 3.00 to 2.00 GHz; {COOLER}": "frequency-fell",
    f"the device throttled: its cores' highest frequencies fell by 25%; {COOLER}": "limits-fell",
    f"the device throttled: its thermal status rose from 0 to 2; {COOLER}": "thermal-status-rose",
    f"the temperature rose from -3 to 52 °C; {COOLER}": "temperature-rose",
    f"20 pages were swapped; {SMALLER}": "swapped-pages",
    f"1000 of the runner's pages came back from swap or storage; {SMALLER}": "major-faults",
    "the device throttled from the start: its thermal status was 3, after 300 s of waiting; "
    f"{COOLER}": "thermal-status-at-start",
    "the cores' highest frequencies were held at 75% of the full ones; switch off battery saver "
    f"and the like, or {COOLER}": "limits-at-start",
    "the round began at 55 °C, above 40 °C, after 30 s of waiting; move the phone to a cooler "
    "place, or raise thermal.longest_cooldown_s": "hot-start",
    "single round": "single-round",
    f"only 1 of 3 rounds is good, 3 are wanted; {AGAIN}": "few-rounds",
    f"only 2 of 3 rounds are good, 3 are wanted; {AGAIN}": "few-rounds",
    "some rounds were made cold by rotation and some by a flush, as memory allowed, which may "
    f"differ by 3 %; {AGAIN}": "cold-in-two-ways",
    "interval of tg @ d512 28% of the median, wider than 10%; close other programs and "
    f"{AGAIN}": "wide-interval",
    "phone 0A-1 is 30% slower than the others by the reference shape, more than 10%: two of a kind "
    "are not alike; measure on one of them": "phone-slower",
    "phone 0A-1 is 23% faster than the others by the reference shape, more than 10%: two of a kind "
    "are not alike; measure on one of them": "phone-faster",
    "the estimate's interval is 12% of it, wider than 10%; measure the shape whole":
        "wide-estimate",
}  # fmt: skip


def told(text: str) -> Reason:
    return Reason(**reason_of(text))


@pytest.mark.parametrize(("text", "kind"), WORDINGS.items(), ids=WORDINGS.values())
def test_every_sentence_becomes_a_reason_of_its_kind_with_the_same_text(
    text: str, kind: str
) -> None:
    what, _, remedy = text.partition("; ")
    for sentence, of_it, rounds in (
        (text, remedy or None, 1),
        (f"{text} (in 3 rounds)", remedy or None, 3),
        (what, None, 1),  # a reason whose remedy another one told
    ):
        reason = told(sentence)
        assert reason.text == sentence
        assert (reason.kind, reason.what, reason.remedy) == (kind, what, of_it)
        assert reason.rounds == rounds
        assert reason.about == ("0A-1" if kind.startswith("phone") else None)


words = st.lists(st.sampled_from(["; ", " (in 2 rounds)", " (in 1 rounds)", "a", "7", "\n"]))


@given(st.text(max_size=20) | words.map("".join))
def test_any_sentence_keeps_its_text(text: str) -> None:
    reason = told(text)
    assert reason.text == text
    assert reason.kind
    assert reason.rounds >= 1


def test_sentences_that_nobody_knows_are_of_one_kind_where_numbers_alone_differ() -> None:
    old = [told(f"the reference drifted by {n}%; wait (stage {n})") for n in (2, 31.5)]
    assert old[0].kind == old[1].kind == "the-reference-drifted-by-#-wait-stage-#"
    assert told("the reference drifted by 2%; try again").kind != old[0].kind
    known = "the reference shape was 31.0% slower than usual, more than 10%"
    assert told(f"{known}; another remedy").kind != "drift-slower"


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    """A database of schema 4 with nothing but what the revision touches."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        t.schema.create(connection)
        connection.execute(t.schema.insert().values(version=4))
        for statement in (
            "CREATE TABLE phonelm_measurements (id INTEGER PRIMARY KEY, reasons JSON)",
            "CREATE TABLE phonelm_estimates (key VARCHAR(12) PRIMARY KEY, reasons JSON)",
        ):
            connection.exec_driver_sql(statement)
        yield connection
    engine.dispose()


def test_the_revision_turns_sentences_into_objects_and_leaves_objects(
    connection: sa.Connection,
) -> None:
    revision = import_module("phonelm_search.store.migrations.versions.0005_reasons")
    assert (revision.revision, revision.down_revision) == ("0005", "0004")
    object_ = reason_of("single round")
    rounds, estimates = (
        sa.table(name, sa.column(key), sa.column("reasons", sa.JSON))
        for name, key in (("phonelm_measurements", "id"), ("phonelm_estimates", "key"))
    )
    old = [[], ["single round"], ["single round", "only 4 samples, fewer than 5"], [object_]]
    connection.execute(rounds.insert(), [{"id": i, "reasons": r} for i, r in enumerate(old)])
    connection.execute(estimates.insert(), [{"key": "k", "reasons": ["20 pages were swapped"]}])

    for _ in range(2):  # a second time changes nothing
        with Operations.context(MigrationContext.configure(connection)):
            revision.upgrade()
        stored = connection.execute(sa.select(rounds.c.reasons).order_by(rounds.c.id)).scalars()
        few = reason_of("only 4 samples, fewer than 5")
        assert list(stored) == [[], [object_], [object_, few], [object_]]
        assert connection.execute(sa.select(estimates.c.reasons)).scalars().all() == [
            [reason_of("20 pages were swapped")]
        ]
