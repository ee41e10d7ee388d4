"""Plays ssh: records its words, then runs the remote command here, as a log-in shell would.

$FAKE_SSH (JSON): `refuse` (message, then exit 255).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

behaviour = json.loads(os.environ.get("FAKE_SSH", "{}"))
with Path(os.environ["FAKE_LOG"], "ssh.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv) + "\n")
if "refuse" in behaviour:
    print(behaviour["refuse"], file=sys.stderr)
    sys.exit(255)
remote = sys.argv[-1] if "--" in sys.argv else "echo log-in shell"
os.execv("/bin/sh", ["sh", "-c", remote])
