"""The inside of the hop from the inference table to ``scores``.

``batch`` is the way of a micro-batch; its steps are ``name_limit``, ``slicing``, ``spread``, ``updates``. ``ledger``
counts what it found and where it went; ``account`` and ``fates`` prove that from the tables. ``rescoring`` takes days
anew.
"""
