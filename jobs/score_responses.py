"""Score responses: inference table → scores, quarantine, feedback, batches.

    inference-metrics score-responses --config conf/local.yaml
    spark-submit --py-files metrics.whl jobs/score_responses.py --config conf/local.yaml

--new-checkpoint reads the source again from its beginning (or from source.starting_version): what is scored stays, and
nothing is scored twice. --retry-quarantine takes the rows of quarantine from the source once more, for when this
program has learned to read more, and ends.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from jobs.command.call import Call, add_new_checkpoint, command
from jobs.command.errors import OK
from jobs.command.log import LOG
from jobs.scoring.batch import BatchContext, create_tables, retry_quarantine, score_batch
from jobs.scoring.scorers import checked_scorers
from jobs.scoring.slicing import check_slices
from jobs.source.changes import SourceQuery
from jobs.source.inference_table import common_rows, source_identifier, stream_source
from jobs.store.checkpoints import SCORE_RESPONSES, checkpoint_in_use
from jobs.store.locks import UNLOCKED, Locks, Unlocked
from jobs.store.stream import stream
from metrics.unpack.dialects import detect_dialect
from metrics.unpack.payloads import families
from schemas.config import TEXT_KEY_VARIABLE, Config
from schemas.scores import SCORES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def start(
    spark: SparkSession,
    config: Config,
    *,
    trigger: str,
    new_checkpoint: bool = False,
    locks: Unlocked = UNLOCKED,
) -> SourceQuery:
    """Start the score query; each of its batches takes the table's lock.

    Raises:
        SourceError: The inference table is missing or of no known dialect.
        ConfigError: A slicing expression can't be used.
        ModelError: A scoring model can't be loaded.
        PayloadError: A family of payloads from elsewhere can't be loaded.
        LockedError: Another driver runs it.
    """
    source = stream_source(spark, config)
    dialect = detect_dialect(source.columns, dialect=config.source.dialect)
    common_rows(source, config)  # what can't be read is said before anything is written
    families()
    check_slices(spark, config)
    checked_scorers(spark, config)  # what can't be loaded is said before anything is written
    _say_if_hashes_have_no_key(config)
    locks.begin()
    create_tables(spark, config)
    checkpoint = checkpoint_in_use(spark, config.checkpoint(SCORE_RESPONSES), new=new_checkpoint)
    LOG.info("scoring %s (%s), checkpoint %s", source_identifier(config.source), dialect, checkpoint)
    context = BatchContext(checkpoint, locks)

    def score(df: DataFrame, batch_id: int) -> None:
        with locks.step(SCORES.name):
            score_batch(df, batch_id, config, context)

    def begin() -> Any:
        return stream(stream_source(spark, config), score, name=SCORE_RESPONSES, checkpoint=checkpoint, trigger=trigger)

    return SourceQuery(begin, config)


def _say_if_hashes_have_no_key(config: Config) -> None:
    if not config.text.secret():
        LOG.warning("text hashes have no key: anyone can test guesses on them. Set %s or text.key.", TEXT_KEY_VARIABLE)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_new_checkpoint(parser)
    parser.add_argument("--retry-quarantine", action="store_true", help="take the rows of quarantine once more")


def _work(call: Call) -> int:
    config, spark = call.config, call.spark
    locks = Locks(spark, config.output, call.name, [SCORE_RESPONSES])
    if call.options.retry_quarantine:
        with locks, locks.step(SCORES.name):
            done = retry_quarantine(spark, config)
        print(f"{done['tried']:,} rows of quarantine tried, {done['scored']:,} scored")
        return OK
    with locks:
        query = start(spark, config, trigger=config.trigger, new_checkpoint=call.options.new_checkpoint, locks=locks)
        query.awaitTermination()
    return OK


main = command(__doc__, _work, _arguments, trigger=True)


if __name__ == "__main__":
    sys.exit(main())
