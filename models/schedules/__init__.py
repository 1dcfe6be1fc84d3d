"""Our schedules of the learning rate, one a file: `scheduler=cosine` calls the function `cosine` of cosine.py.

A schedule of your own is one more file here: a pure function from where training is to the share of `optimizer.lr`
with which the next optimiser step is made, so that a resumed run goes on exactly where it was. It takes what it
needs by name, then keyword arguments with types, defaults and ranges, which are its keys:

    def polynomial(progress: float, *, power: Annotated[float, "x > 0"] = 1.0) -> float:
        return (1 - progress) ** power

- `step`: optimiser steps done, from 0;
- `epoch`: epochs completed;
- `total_steps`: optimiser steps of the whole run;
- `progress`: the share of them that is done, from 0 to 1.

A schedule that rises by itself says so with a literal `WARMS_UP = True`. One that watches the monitored metric is
a class, as in plateau.py. Importing this package imports no torch.
"""
