#!/usr/bin/env python3
"""Runs a command and writes the most memory it had resident, in KiB (getrusage(2)), to a file: peak.py FILE COMMAND…"""
import resource
import subprocess
import sys

status = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(status)
