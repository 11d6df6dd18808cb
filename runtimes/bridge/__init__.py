"""The network that boxes of every kind share: a bridge, addresses on it, the way out. Made for a run, gone with it."""
