"""Rank and number of processes, from the environment variables of torchrun or else of SLURM's srun."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from .errors import UserError

PORTS = range(15_000, 32_000)
"""Ports for the meeting point: below those that Linux uses for outgoing connections."""


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
        local: number of this process among those on its machine, from 0.
        meeting: host and port of the meeting point, which rank 0 opens; with `agent`, torchrun's agent has opened it.
        slurm: started by srun.
        agent: started by torchrun with a store of its own.
    """

    rank: int
    world: int
    local: int
    meeting: tuple[str, int]
    slurm: bool = False
    agent: bool = False


def launch() -> Launch | None:
    """What the environment says; None for a single process. Raises UserError for a variable that is missing or not a number."""
    if "WORLD_SIZE" in os.environ:
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise UserError(
                f"WORLD_SIZE is set but {', '.join(missing)} is not: start the processes with torchrun, "
                "or unset WORLD_SIZE to train in one process"
            )
        meeting = os.environ["MASTER_ADDR"], number("MASTER_PORT")
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return Launch(number("RANK"), number("WORLD_SIZE"), number("LOCAL_RANK", "RANK"), meeting, agent=agent)
    if "SLURM_PROCID" not in os.environ:  # srun sets it for each task of a step
        return None
    world = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", missing=1)
    if world == 1:
        return None
    return Launch(number("SLURM_PROCID"), world, number("SLURM_LOCALID", "SLURM_PROCID"), slurm_meeting(), slurm=True)


def number(*names: str, missing: int | None = None) -> int:
    """The first of these variables that is set. Raises UserError if it is not a whole number, or if none is set."""
    for name in names:
        if name in os.environ:
            try:
                return int(os.environ[name])
            except ValueError:
                raise UserError(f"{name}={os.environ[name]}: it must be a whole number") from None
    if missing is None:
        raise UserError(f"{names[0]} is not set; start the processes with torchrun or srun")
    return missing


def slurm_meeting() -> tuple[str, int]:
    """MASTER_ADDR and MASTER_PORT if set, else the first machine of the step and a port computed from the job and step IDs."""
    host = os.environ.get("MASTER_ADDR") or slurm_host()
    port = PORTS[(number("SLURM_JOB_ID", "SLURM_JOBID", missing=0) + 97 * number("SLURM_STEP_ID", missing=0)) % len(PORTS)]
    return host, number("MASTER_PORT", missing=port)


def slurm_host() -> str:
    """The first machine of the step."""
    if number("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES", "SLURM_NNODES", missing=0) == 1:
        return "127.0.0.1"  # a container may not know its own name
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"):
        if os.environ.get(name):
            return first_host(os.environ[name])
    raise UserError(
        "SLURM says neither how many machines there are nor their names (SLURM_STEP_NUM_NODES, SLURM_STEP_NODELIST); "
        "set MASTER_ADDR to the machine of rank 0"
    )


def first_host(names: str) -> str:
    """The first name in SLURM's list of machines: "gpu[07-09,12],cpu1" -> "gpu07"."""
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])+", names)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else names)
