"""Tables as they grow old: retention removes rows, compaction packs files, maintenance does both when it is time."""
