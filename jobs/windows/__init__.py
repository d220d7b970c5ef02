"""The inside of the hop from ``scores`` to ``profile_metrics``.

``query`` says what windows there are and what they should hold, ``recompute`` writes the touched ones, ``settle`` marks
those that no late row is expected for, ``made_by`` follows the settings, ``check`` compares all with ``scores``, and
``drawn`` reads what the page shows.
"""
