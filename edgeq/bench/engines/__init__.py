"""One module per way to run a model, each with a class `Engine` (see edgeq.bench.worker). They run in processes of
their own and import nothing of the rest of the bench but cases and facts."""
