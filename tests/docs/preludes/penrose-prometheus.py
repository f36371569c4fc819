"""Any port that is free."""

PLACEHOLDERS = {"9464": "0"}
