"""Why a text has no score."""

EMPTY = "empty"
LANGUAGE = "language"
MISSING = "missing"
NO_WORDS = "no_words"
NOT_FINITE = "not_finite"
NOT_SAMPLED = "not_sampled"
OUT_OF_RANGE = "out_of_range"
TOO_SHORT = "too_short"
"""Reasons in ``score_errors``: the text shows nothing, or the scorer's tokenizer finds no token in it; it is in another
language than the scorer's; the log has none; it has no words; the score is no finite number; ``scoring.sample_rate``
left the request out; the score is beyond its column's bounds; the text has a token, but none with another before it
(models without BOS). ``error:Type`` names an exception, ``circuit_open`` a scorer that always fails. Scorers from
elsewhere have words of their own."""
