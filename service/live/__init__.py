"""The live loop, which owns the device, and the incident detector."""
