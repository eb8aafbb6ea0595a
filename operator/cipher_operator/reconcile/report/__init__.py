"""What is told of a run: pure functions of its Result, a file each."""
