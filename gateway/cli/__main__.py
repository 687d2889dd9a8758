"""`python -m gateway.cli`, which is how `heyan up` starts the parties."""

from gateway.cli import main

main()
