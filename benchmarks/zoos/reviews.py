"""Every reason for a refusal that the zoo meets, reviewed: why it stands, in words for people.

A reason without a review shows on the page as such.
"""

from __future__ import annotations

import re

_EXACT = "Channels go where the network without them computes what it did with them at zero."
_REVIEWS: dict[str, str] = {
    "network's output": "The answer would lose classes.",
    "normalises all channels together": f"{_EXACT} A LayerNorm's mean and deviation are over all channels, zeros among "
    "them, so they would be others. The layers inside a block, whose channels meet no LayerNorm, can lose theirs.",
    "normalises N channels together": f"{_EXACT} A group of GroupNorm goes as a whole; here there is one group.",
    "has N groups, which must stay equally large": "A grouped convolution loses the k-th channel of every group at "
    "once; here that ties all of them, as each group is normalised or mixed as a whole.",
    "reduces over channels": f"{_EXACT} A mean or a maximum over channels counts zeros. Sums and norms do not, and let "
    "channels go.",
    "works across what lies side by side": "A convolution over the vector of channels (ECA) has neighbours as its "
    "inputs: without a channel, all behind it would move up.",
    "lays channels out in rows": "Rows of a reshape must stay equally long: places in them are tied, and shuffles that "
    "follow tie the next ones.",
    "spread over others by": "One channel weighs all others (spatial attention): there is none to lose.",
    "tied to what … makes": "The operation there cannot be followed channel by channel.",
    "which mixes them in a way that is not known": "The operation there has no rule; its inputs stay as they are.",
    "multiplies matrices of them": "Products of values of which each has channels along another dimension (bilinear "
    "attention).",
    "does not take other numbers of them": "A size is written into the operation that depends on several groups.",
    "picks them by their number": "Channels are picked by their number.",
    "only one part of its channels can go": "Of its channels that go together there is one part, and something must "
    "stay.",
    "takes several values": "No rule for a layer that takes several values.",
    "could not widen alone": "Growing by one layer at a time: a sum or a join would need the others to grow alike.",
    "makes its channels in groups": "New channels would belong to one group, and groups must stay equally large.",
    "run no faster (option block)": "Fewer channels than a block of the processor's vectors save no time; option "
    "block = 0 prunes them for size.",
    "less than a block of N": "As above: what could go is less than one block.",
    "map from N to N channels would cost as much": "What would take the span's place is no cheaper than the span.",
    "or another layer names their group": "An edit before this one left one channel in each group of a grouped "
    "convolution: its inputs and outputs are tied since then, and went together under the other's name.",
    "which no map bridges": "The span's ends have other dimensions (one map there, several side by side here): neither "
    "pooling nor a linear map of channels leads from one to the other.",
    "gives the output of the network": "Nothing follows that could make up for it.",
    "gives the classes": "Nothing follows that could make up for it.",
    "remove that block instead": "The same removal is offered under another name.",
    "used elsewhere too": "What is inside the span is read from outside of it.",
    "no such span": "An earlier removal took it away.",
    "no linear layer follows": "The map that replaces the span would have no layer to be folded into.",
    "changes the size of the image in a way": "Pooling and a map cannot give an image of that size.",
    "no groups of N inputs and parts of N outputs": "No smaller form of this layer exists for these sizes.",
    "is grouped": "Its kernels see some channels only, or one; the method replaces kernels that see all.",
    "no choice saves N bytes": "Too small: what the method needs beside it weighs as much.",
    "below N packing costs more": "Too small: the packed form weighs as much.",
    "below N unpacking costs what rounding saves": "Too small: the operators that unpack weigh as much.",
    "whose new outputs would be another kind's": "A transposed convolution counts its outputs along another "
    "dimension of its weight; growing is made for plain layers.",
    "are made for convolutions that are not transposed": "The method is made for plain convolutions.",
    "is transposed, and its kernels": "Its kernels would have to slide over channels and be transposed at once.",
    "is called more than once": "A layer with two calls would have to grow alike for both.",
    "tied to the constant": "A learned embedding larger than what is told apart entry by entry is added.",
    "sums over them": "The operation adds up along this dimension as a scan does: later ones depend on earlier.",
    "which reduces over the first dimension": "The operation is over the batch's dimension, where this network keeps "
    "other things.",
    "which reduces over samples": "The operation is over the batch's dimension, where this network keeps other things.",
    "an operand is no batch of samples": "An attention that folds positions into the batch and leaves it so over a "
    "padding or a softmax: the file has no form for it yet.",
    "Cannot copy out of meta tensor": "The network makes its position embedding anew on a device in each call.",
    "is a Conv1d": "The method is made for images.",
    "is a Conv3d": "It would need convolutions over four dimensions, which no runtime has.",
    "no kernel fits": "The layer has too few channels for any kernel of the options.",
    "taps read pixels of one class": "Its stride skips the other pixels: there is nothing to mask.",
    "reads the image through": "Something stands between the image and the first convolution; masks are for pixels.",
    "has the odd stride": "A mask in the form of a tile only, which saves nothing here.",
    "over tokens or channels-last images": "Made for one row of features per sample.",
    "its weight is computed anew at each call": "A plain weight would train as another one.",
    "a transposed convolution has no integer kernel": "ONNX Runtime has none: it would compute in floats between two "
    "roundings.",
    "its input has the batch elsewhere": "No plugin could tell its samples apart.",
}


def review(reason: str) -> str:
    """Why a refusal of this general reason stands; ``not reviewed`` where nobody has looked."""
    plain = re.sub(r"\s+", " ", reason)
    return next((said for part, said in _REVIEWS.items() if part in plain), "not reviewed")
