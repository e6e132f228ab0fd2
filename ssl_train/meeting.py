"""How the processes of a run find each other: by a key-value store in rank 0, a new one at each start of the run."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from .errors import UserError
from .launch import Launch

JOIN = timedelta(minutes=10)
"""How long the processes wait for each other."""
TRY = timedelta(seconds=2)
"""How long to try one port before asking torchrun's store for it again."""
KEY = "ssl_train"


def meet(launch: Launch) -> TCPStore:
    """The store, once all processes have connected. Raises UserError if they do not."""
    host, port = launch.meeting
    try:
        if not launch.agent:
            if launch.slurm and launch.rank == 0:
                say = f"ssl_train: waiting for the {launch.world} processes of this SLURM step at {host}:{port}"
                print(say, file=sys.stderr, flush=True)
            return TCPStore(host, port, launch.world, launch.rank == 0, timeout=JOIN)
        return fresh_store(TCPStore(host, port, launch.world, False, timeout=JOIN), launch)
    except (RuntimeError, ValueError) as error:
        advice = (
            "start them with srun (or unset SLURM_PROCID to train in one process), or set MASTER_ADDR and MASTER_PORT to a "
            "free port of rank 0's machine that the others can reach"
        )
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"the {launch.world} processes did not meet at MASTER_ADDR={host} MASTER_PORT={port} ({reason})"
            + (f"; {advice}" if launch.slurm else "")
        ) from None


def fresh_store(agent: TCPStore, launch: Launch) -> TCPStore:
    """A new store in rank 0, whose port the others learn from torchrun's store.

    torchrun's own store has the same address after every restart and still holds what the killed processes wrote. New processes
    would read the addresses of the dead ones and wait for each other for ever, as torch 2.14 does.
    """
    host, _ = launch.meeting
    if launch.rank == 0:
        store = TCPStore(host, 0, launch.world, True, timeout=JOIN, wait_for_workers=False)
        agent.set(KEY, str(store.port))
        return store
    end = time.monotonic() + JOIN.total_seconds()
    while True:
        try:  # the port may be from before the restart; then nobody answers
            store = TCPStore(host, int(agent.get(KEY)), launch.world, False, timeout=TRY, wait_for_workers=False)
            store.set_timeout(JOIN)
            return store
        except RuntimeError:
            if time.monotonic() > end:
                raise
