"""Statistics: resampling, intervals and regressions, on arrays alone."""
