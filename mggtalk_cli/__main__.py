"""`python -m mggtalk_cli` is `mggtalk`."""

from mggtalk_cli.cli.app import main

if __name__ == "__main__":
    main()
