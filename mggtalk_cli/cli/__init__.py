"""The `mggtalk` command: parse, read, call the pipeline, write; one file per subcommand."""
