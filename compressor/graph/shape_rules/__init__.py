"""Shape rules: by kind of layer, by function, and by running one node where there is no rule."""
