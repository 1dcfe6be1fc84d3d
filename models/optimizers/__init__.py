"""Our optimisers, one a file: `optimizer=sgd` calls the function `sgd` of sgd.py. Importing this imports no torch.

An optimiser of your own is one more file here. Its function takes the parameter groups, which carry their own `lr`
and `weight_decay`, and keyword arguments with types, defaults and ranges, which are its keys:

    def mine(groups, *, lr: float = 0.1, momentum: Annotated[float, "0 <= x < 1"] = 0.9) -> Optimizer:

`lr` is the largest rate of the groups; its default is what a run starts from without `optimizer.lr`. A function with
`weight_decay` among its arguments is one that decays; of any other `optimizer.weight_decay` is refused. With a literal
`FUSED` in the file, the device types for which the whole update is one kernel, the argument `fused` is filled in.
"""
