"""A traced network as plain data, and one operation of it as the rules see it that make it a layer."""
