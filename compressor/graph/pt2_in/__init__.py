"""Reading torch.export archives that nobody trusts: the zip file, its values, its program."""
