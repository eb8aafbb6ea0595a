"""One run of one storage, from its inputs to its status."""
