"""The log book: what people note of cells and stations, with the time."""
