#!/bin/sh
# Packages start no services while they are installed in a container.
exit 101
