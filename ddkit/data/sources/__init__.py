"""Names to splits: built in, published, registered, folders, tables, the Hub."""
