"""Our simulator as an ML-Agents player: an executable that stands where a Unity build would."""
