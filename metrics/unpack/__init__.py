"""Unpacking: which inference table it is (``dialects``), and what its JSON payloads hold (``payloads``)."""
