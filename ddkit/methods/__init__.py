"""The contract with a method: hooks, defaults, options, presets; and what calls them."""
