import subprocess
import sys
from pathlib import Path

import environ
import pytest

from libs.settings import Deployment, Misconfigured, Secret, Settings, address, flag, one_of, seconds, whole


@environ.config(prefix="", frozen=True)
class Sample(Settings):
    hold_days: int = environ.var(converter=whole(1, 365))
    key: Secret = environ.var("unset", converter=Secret)
    colour: str = environ.var("red", converter=one_of("red", "blue"))
    pause: float = environ.var("0.5", converter=seconds(0, 10))
    on: bool = environ.var("0", converter=flag)
    other: str = environ.var("", converter=address)


def test_settings_come_from_the_environment_with_defaults() -> None:
    read = Sample.read({"HOLD_DAYS": "14", "ON": "yes", "OTHER": "host:80"})
    assert (read.hold_days, read.colour, read.pause, read.on, read.other) == (14, "red", 0.5, True, "host:80")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "HOLD_DAYS must be set."),
        ({"HOLD_DAYS": ""}, "HOLD_DAYS must be set."),
        ({"HOLD_DAYS": "many"}, "HOLD_DAYS must be a whole number between 1 and 365."),
        ({"HOLD_DAYS": "366"}, "HOLD_DAYS must be a whole number between 1 and 365."),
        ({"HOLD_DAYS": "1", "COLOUR": "green"}, "COLOUR must be one of red, blue."),
        ({"HOLD_DAYS": "1", "PAUSE": "nan"}, "PAUSE must be a number of seconds between 0 and 10."),
        ({"HOLD_DAYS": "1", "ON": "maybe"}, "ON must be 1 or 0."),
        ({"HOLD_DAYS": "1", "OTHER": "host"}, "OTHER must be host:port."),
        ({"HOLD_DAYS": "1", "OTHER": "host:99999"}, "OTHER must be host:port."),
        ({"HOLD_DAYS": "1", "KEY_FILE": "/none"}, "KEY_FILE cannot be read: /none: No such file or directory."),
        ({"HOLD_DAYS": "1", "KEY": "a", "KEY_FILE": "b"}, "KEY and KEY_FILE are both set; give one of them."),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(Misconfigured) as wrong:
        Sample.read(environment)
    assert str(wrong.value) == sentence


def test_a_secret_may_be_given_as_a_file_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    read = Sample.read({"HOLD_DAYS": "1", "KEY_FILE": str(tmp_path / "key")})
    assert read.key == "hush"
    assert "hush" not in repr(read)


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    with pytest.raises(Misconfigured, match="KEY_FILE is empty"):
        Sample.read({"HOLD_DAYS": "1", "KEY_FILE": str(tmp_path / "key")})


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"TEST_MODE": "1"}, "TEST_MODE must not be set in production"),
        ({"TEST_MODE": "1", "ENVIRONMENT": "production"}, "TEST_MODE must not be set in production"),
        ({"ENVIRONMENT": "local", "DEV_CLOCK_FILE": "clock"}, "DEV_CLOCK_FILE must not be set without TEST_MODE"),
        ({"ENVIRONMENT": "staging"}, "ENVIRONMENT must be one of production, local, test"),
    ],
)
def test_production_has_no_test_mode(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        Deployment.read(environment)


def test_a_process_with_a_wrong_setting_ends_with_the_sentence_alone() -> None:
    program = "from libs.settings import Deployment; Deployment.read({'POSTGRES_POOL_MAX': '0'})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "POSTGRES_POOL_MAX must be a whole number between 1 and 200.\n"
