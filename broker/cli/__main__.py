"""`python -m broker.cli` is `wio`."""

from broker.cli.app import main

main()
