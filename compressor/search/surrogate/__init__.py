"""A model of the answers: what a plan will weigh, take and score once it is trained, each with its uncertainty."""
