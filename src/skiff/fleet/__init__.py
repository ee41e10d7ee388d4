"""Many devices: an inventory of them, which ones are meant, and work that goes over them in waves."""
