"""The gateway's side of the department nodes: one link to each node, over one stream for each of its channels."""
