"""Windows: statistics of rows (``rows``, ``groups``, ``statistics``) and of windows merged (``merging``), no Spark.

``windows`` lets executors do it, ``ranges`` says which windows tile a range, and ``current`` which are of the newest
scorer. What is measured stands in ``schemas.measures``.
"""
