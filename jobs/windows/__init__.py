"""The inside of the hop from ``scores`` to ``profile_metrics``.

``follow`` goes on from tick to tick, ``recompute`` writes the windows that changed rows touch: computed on the driver
(``on_driver``), or by executors (``query``, which also says what is stored). ``settle`` marks those that no late row is
expected for, ``made_by`` follows the settings, ``check`` compares all with ``scores``, and ``drawn`` has what the page
shows.
"""
