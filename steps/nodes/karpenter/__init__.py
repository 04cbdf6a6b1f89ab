"""Provider karpenter: a NodeClaim of the run's own, or a node that an installed NodePool brings."""
