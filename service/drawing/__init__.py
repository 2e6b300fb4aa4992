"""Pictures with people drawn on them, and videos made of those."""
