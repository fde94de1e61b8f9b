"""Training: one loop whose every step is a pure function of the weights, the optimizer's memory and the step's number."""
