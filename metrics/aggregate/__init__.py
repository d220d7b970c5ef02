"""Windows: what is measured (``measures``), and its statistics by window and model version (``windows``)."""
