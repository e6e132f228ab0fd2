"""What every suite measures with: rounds in turn, their statistics, the machine, and the result file."""
