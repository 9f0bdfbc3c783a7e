"""The faults of the catalogue, met by real processes, real disks and real peers."""
