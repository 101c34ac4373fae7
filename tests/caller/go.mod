module pullpass.dev/tests/caller

go 1.25
