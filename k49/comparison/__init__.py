"""Whether one experiment is better than another: what git has of both, intervals, a verdict."""
