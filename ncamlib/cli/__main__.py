"""`python -m ncamlib.cli`, for torchrun."""

from ncamlib.cli.main import main

main()
