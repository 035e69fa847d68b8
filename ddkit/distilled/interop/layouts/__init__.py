"""One module per layout (see `ddkit.distilled.interop.formats.Layout`)."""
