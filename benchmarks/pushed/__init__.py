"""What `pushing.py` is made of: services run on by rankers that lean on rewards which differ from user to user."""
