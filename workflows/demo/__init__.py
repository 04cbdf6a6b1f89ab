"""`make demo`: the whole pipeline on this machine, on a model and a dataset that are made here."""
