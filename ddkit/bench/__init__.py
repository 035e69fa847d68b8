"""Head-to-head: methods compared on the same data, networks and recipes, with cost beside accuracy.

config.py    what is compared: the matrix, from flags or a TOML file
cells.py     its cells, and the baselines that stand beside each
store.py     what is finished, in SQLite
harness.py   does what is not finished yet
pace.py      the same distillation time for every method
measures.py  scores and tests, as plain functions
results.py   from the store to rows of figures
"""
