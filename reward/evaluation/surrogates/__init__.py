"""Long-term effects from short-term data: how far what was seen so far may stand in for what is waited for."""
