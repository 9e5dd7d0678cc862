"""Which channels belong together, found exactly: by following every position through every operation.

    atoms    what each layer makes is numbered, channel by channel; numbers that meet are united to classes
    flow     (``graph.flow``) what can happen to numbers on their way; layers, functions, moves and places say what does
    trace    the first pass: classes, and why some cannot go
    replay   the second pass: the network with other channels, to see what arrives at each layer and what to rewrite
    check    once for each structure, the numbers themselves: half of every group silenced, and half of it gone

Operations that move values (reshapes, transpositions, joins, splits) are run by torch itself on the numbers, so there
is no rule for where a position goes that could be wrong. What combines values unites what stands at one place. What
mixes channels (a mean over them, a normalisation, a softmax) unites all it mixes, so that they go together or not at
all; what is not known pins what goes in. GroupNorm thus loses whole groups, and the channels that a LayerNorm sees
cannot go: its mean would be another.

torch-pruning (Fang et al., DepGraph, CVPR 2023) did this before. It maps indices by a rule for each operation, which
was wrong where flattened branches are joined, where one value is used twice and where rows lie beside maps, and fails
on split channels; and it traces anew for every change. It stays as what the tests hold this package against, on the
networks whose operations it knows.
"""
