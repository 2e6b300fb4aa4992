"""Notifications: the webhook and MQTT send every event of the log at least once."""
