"""Gates: how a value stream and a gate stream become one."""
