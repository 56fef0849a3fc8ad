"""What a plan shares, routes and costs: answers for people."""
