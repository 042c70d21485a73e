"""What a tensor is made of, before it can do anything: types, devices, sizes, storage, errors."""
