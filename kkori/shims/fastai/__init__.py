"""What the course uses of fastai: data sets fetched by name, and the names it puts at hand."""
