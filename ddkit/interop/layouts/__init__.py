"""One module per layout (see `ddkit.interop.formats.Layout`)."""
