"""The running operator: kopf as informer, the scheduler, one reconcile per storage."""
