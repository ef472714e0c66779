"""The names of a log's columns."""

from __future__ import annotations

USER = "user_id"
ITEM = "item_id"
TIMESTAMP = "timestamp"
SESSION = "session_id"
REQUEST = "request_id"
POSITION = "position"
PROPENSITY = "propensity"
REASON = "reason"
VALUE = "value"
CLICKS = ("click", "is_click", "clicked")  # a feedback column of such a name is the click, unless another is named
