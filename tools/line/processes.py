"""Child processes that end with the script that started them, and free ports: what the demo and the checks share."""

import os
import socket
import subprocess
import time

# Folder of the programs that a script runs. The script that built them names another one.
PROGRAMS = os.environ.get("WINSPECT_PROGRAMS", "target/release")
WINSPECT = f"{PROGRAMS}/winspect"
CONVEYOR = f"{PROGRAMS}/examples/conveyor"

children = []


def start(command, **options):
    # In a session of its own, so that Ctrl-C reaches this script alone, which ends all in order; setpriv ends the child
    # even where this script is killed.
    command = ["setpriv", "--pdeathsig", "KILL", *command]
    child = subprocess.Popen(command, start_new_session=True, text=True, **options)
    children.append(child)
    return child


def end(child):
    child.kill()
    child.wait()
    children.remove(child)


def end_all():
    for child in children[:]:
        end(child)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds, timeout_s, what):
    limit = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > limit:
            raise SystemExit(f"{what} within {timeout_s} s")
        time.sleep(0.05)
