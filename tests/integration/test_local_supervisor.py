"""Processes that die are started again, and given up where they cannot live."""

import signal
import sys
from pathlib import Path

import pytest

from deploy.local import supervisor
from deploy.local.processes import Spec
from deploy.local.state import State
from deploy.local.supervisor import Kept
from deploy.local.trouble import Trouble
from tests.support.eventually import eventually

# Lives when nothing, or nothing more, is left in the file of deaths to die.
PROGRAM = """
import pathlib, sys, time
deaths = pathlib.Path(sys.argv[1])
left = int(deaths.read_text())
if left:
    deaths.write_text(str(left - 1))
    sys.exit("still in use")
pathlib.Path(sys.argv[2]).touch()
time.sleep(60)
"""


class Mortal:
    """A process that dies as often as it is told to, and the one who keeps it."""

    def __init__(self, directory: Path) -> None:
        self._deaths, self._alive = directory / "deaths", directory / "alive"
        self.dies(0)
        argv = (sys.executable, "-c", PROGRAM, str(self._deaths), str(self._alive))
        state = State(directory / "state")
        state.make()
        self.kept = Kept(Spec("mortal", argv, directory, self._alive.exists), state)

    def dies(self, times: int) -> None:
        self._deaths.write_text(str(times))
        self._alive.unlink(missing_ok=True)

    def is_tended_to_life(self) -> bool:
        self.kept.tend()
        return self._alive.exists() and self.kept.process.exit_code is None

    async def killed(self) -> None:
        self.kept.process.signal(signal.SIGKILL)
        await eventually(lambda: self.kept.process.exit_code is not None)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS_MAX", 0.01)


async def test_what_never_lived_is_given_up_after_a_few_deaths(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path)
    await mortal.killed()
    mortal.dies(supervisor.QUICK_DEATHS_MAX)
    with pytest.raises(Trouble, match=r"mortal died 5 times .* \(still in use\)"):
        mortal.kept.wait_ready()


async def test_what_has_lived_may_die_often_before_it_lives_again(tmp_path: Path) -> None:
    mortal = Mortal(tmp_path)
    mortal.kept.wait_ready()
    await mortal.killed()
    mortal.dies(2 * supervisor.QUICK_DEATHS_MAX)
    await eventually(mortal.is_tended_to_life)
    mortal.kept.process.kill()


async def test_what_does_not_live_again_for_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mortal = Mortal(tmp_path)
    mortal.kept.wait_ready()
    await mortal.killed()
    mortal.dies(1000)
    monkeypatch.setattr(supervisor, "READY_SECONDS", 0.0)

    def why_given_up() -> str:
        try:
            mortal.kept.tend()
        except Trouble as trouble:
            return str(trouble)
        return ""

    assert (await eventually(why_given_up)).startswith("mortal died 5 times")
