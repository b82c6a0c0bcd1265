"""``python -m kubernaut.cli`` runs the command ``kubernaut``."""

from kubernaut.cli.main import main

if __name__ == "__main__":
    main()
