"""Lines that C libraries print to the standard error stream."""

import os

from dense_ssl.utils.native_messages import native_messages


def test_lines_with_a_pattern_are_caught_and_others_are_printed(capfd):
    with native_messages(("lost",)) as caught:
        os.write(2, b"two bytes lost\nsomething else\n")
    assert caught == ["two bytes lost"]
    assert capfd.readouterr().err == "something else\n"


def test_a_process_that_is_forked_meanwhile_does_not_wait_for_ever():
    with native_messages(("lost",)):
        child = os.fork()
        if child == 0:
            with native_messages(("lost",)) as caught:
                os.write(2, b"lost\n")
            os._exit(len(caught))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
