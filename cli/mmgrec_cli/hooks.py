"""Registers the shipped commands, so that `mmgrec plugins` lists them and sees who else claims a name of theirs.

Entry point ``commands`` of group ``mmgrec``. The command line itself is put together in `mmgrec_cli.app`, without
asking for plugins; a test holds the two against each other.
"""

from __future__ import annotations

from mmgrec.hookspecs import Register, hookimpl


@hookimpl
def mmgrec_commands(register: Register) -> None:
    home = "mmgrec_cli"
    register("run", f"{home}.run:run", summary="one experiment, from data to a page")
    register("study", f"{home}.study:study", summary="many models over seeds and data sets, tuned alike")
    register("plugins", f"{home}.plugins:plugins", summary="every installed plugin")
    register("ids", f"{home}.ids:ids", summary="how healthy a run's Rec-IDs are")
    register("recommend", f"{home}.recommend:recommend", summary="lists for users, from a stored model")
    register("explain", f"{home}.explain:explain", summary="why a user is recommended what they are")
    register("evaluate", f"{home}.evaluate:evaluate", summary="a stored model, by another rule")
    register("compare", f"{home}.compare:compare", summary="stored runs against each other")
    register("report", f"{home}.report:report", summary="the page of a run or a study, again")
    register("data", f"{home}.app:data_commands", summary="data folders: import, features, check")
    register("config", f"{home}.app:config_commands", summary="settings: show")
