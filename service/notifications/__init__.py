"""Tells other programs what happens: webhook and MQTT, each event at least once, from the store."""
