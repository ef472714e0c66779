"""Effects of items: residuals of outcomes, inverse-propensity means, and their shrinkage."""
