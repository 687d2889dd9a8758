"""What an auditor can tell from the outside: journals of departments held against the log. Pure rules, no I/O."""
