"""What a run runs on: devices, their peak speed, memory, and the record of all that in ``environment.json``."""
