"""The documentation site: what MkDocs is told beyond mkdocs.yml. Run by `make docs`."""
