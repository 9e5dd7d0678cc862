"""Workers on other machines: what travels to them, what they do there, and Ray, which carries it."""
