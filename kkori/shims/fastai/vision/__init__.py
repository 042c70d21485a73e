"""`fastai.vision`, of which the course uses `all`."""
