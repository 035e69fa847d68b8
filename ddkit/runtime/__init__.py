"""What all rooms stand on: files, settings, the machine, memory, progress, errors."""
