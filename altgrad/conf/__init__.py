"""Presets: `GROUP/NAME.yaml`, found by `compose` as files of this package."""
