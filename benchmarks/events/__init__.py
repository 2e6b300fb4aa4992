"""Events found, named and missed on labelled footage, by the functions of ``daflow evaluate --events``."""
