"""`make demo`: the whole pipeline on this machine, with a model and a dataset created here."""
