"""Whether one experiment is better than another, by git alone: differences, intervals, verdict."""
