"""`python -m pyromoe` is the command `pyromoe`."""

from pyromoe.inference.cli import main

if __name__ == "__main__":
    main()
