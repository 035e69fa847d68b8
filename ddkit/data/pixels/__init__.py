"""Where pixels are: in memory, in a mapped file, in their image files."""
