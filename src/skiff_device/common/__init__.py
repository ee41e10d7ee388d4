"""What the parts on the device share: files, keys, other programs, and errors for the user."""
