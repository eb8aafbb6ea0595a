"""The pure middle: from desired and observed to a plan, a Secret and an outcome."""
