"""A graph in torch: differentiable, on any device, with weights that are read when they are used."""
