"""Launchers: where a study's trials run. Each of them starts the same command and hands back a `Job`.

Trials write into the study's folder themselves, so results need no way back: on a cluster the folder lies on a file
system that all nodes share, with the same Python environment at the same place.
"""

from __future__ import annotations

from typing import Literal, get_args

from gatewright.errors import UserError, unknown
from gatewright.study.launch.job import Ending, Job, Launcher, LaunchError
from gatewright.study.launch.resources import Resources

LauncherName = Literal["local", "ray", "slurm"]

__all__ = ["Ending", "Job", "LaunchError", "Launcher", "LauncherName", "Resources", "create_launcher"]


def create_launcher(name: str, resources: Resources | None = None, address: str | None = None) -> Launcher:
    """The launcher called ``name``; ``address`` is that of a Ray cluster.

    Raises `UserError` for what a launcher cannot do, or if its package or its cluster is not there.
    """
    if address is not None and name != "ray":
        raise UserError(f"address={address} is that of a Ray cluster: it goes with launcher ray, not {name}")
    resources = resources or Resources()
    if name == "local":
        from gatewright.study.launch.local import LocalLauncher

        return LocalLauncher(resources)
    if name == "ray":
        from gatewright.study.launch.ray_cluster import RayLauncher

        return RayLauncher(resources, address)
    if name == "slurm":
        from gatewright.study.launch.slurm import SlurmLauncher

        return SlurmLauncher(resources)
    raise unknown("launcher", name, get_args(LauncherName))
