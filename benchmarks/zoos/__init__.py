"""The networks of torchvision and timm, each put through capture, export, every rewrite and pruning."""
