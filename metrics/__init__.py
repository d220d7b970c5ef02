"""From inference row to dashboard: unpack → score → aggregate → dashboard.

Pure: nothing here opens a session, reads a table or writes one; ``jobs`` does.
"""
