"""The account at the broker: snapshots, positions against fills, and activities that are no fills."""
