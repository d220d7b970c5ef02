"""The inside of the hop from the inference table to ``scores``.

``batch`` is the way of a micro-batch; its steps are ``name_limit``, ``slicing``, ``spread``, ``updates``.
``ledger`` says what it found, ``outcomes`` where that went; ``account`` and ``fates`` prove it from the tables.
``rescoring`` takes days anew.
"""
