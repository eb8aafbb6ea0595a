"""The process: start and end, the informer, settings, health, metrics, logs."""
