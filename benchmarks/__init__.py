"""What the product's speed is measured with: each file is a command that prints a table. `make bench` runs them."""
