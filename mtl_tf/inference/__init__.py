"""The inference compiler: a trained model as a small plan, and the plan as a graph."""
