"""`fastai.data`, of which the course uses `all`."""
