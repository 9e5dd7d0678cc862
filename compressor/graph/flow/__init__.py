"""How identities of channels travel through a network: the words in which layers and functions say what they do."""
