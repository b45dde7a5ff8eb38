"""`python -m shardmq.router.cli`: the command line where no script is installed."""

from .main import main

if __name__ == "__main__":
    main()
