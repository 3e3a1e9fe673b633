"""`python -m ramify` is `ramify`."""

from ramify.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
