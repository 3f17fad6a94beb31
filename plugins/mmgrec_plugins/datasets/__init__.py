"""Dataset sources: planted data, the data folder, and other people's files."""
