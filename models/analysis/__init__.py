"""Pure functions on nets and their outputs: attribution, attacks, counting, metrics, advice."""
