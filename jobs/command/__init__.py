"""How a command begins and ends: its arguments, settings, Spark session, Java, log, and the message of its errors.

Nothing here knows of tables. ``fail_points`` is for the kill tests: where they can ask a run to die.
"""
