"""Provider karpenter: a NodeClaim of the run's own, or a node of an installed NodePool."""
