"""Questions in plain words, answered from named measures."""
