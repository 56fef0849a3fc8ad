"""What other libraries need to be measured beside ours, each in its own environment."""
