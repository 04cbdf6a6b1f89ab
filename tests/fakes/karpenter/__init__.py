"""A controller for Karpenter's NodeClaims on a real API server, with nodes by a command.

It does to claims what Karpenter 1.13 does, as far as somebody who made a claim can see it:
finalizer, conditions, events, labels and taints of the node, drain. What the cloud does to a claim
is a script.
"""
