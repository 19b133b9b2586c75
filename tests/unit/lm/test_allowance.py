"""How long a call goes on asking: silence by the clock, useless replies by a credit."""

from __future__ import annotations

import pickle
import threading
import time

import pytest
from lm_doubles import KEY, ask, good

from mipro.errors import ConfigError
from mipro.lm import allowance, base
from mipro.lm.allowance import CREDIT, EARNED, FREE, Allowance, Call, Fault
from mipro.lm.openai import OpenAILM

DOWN = (500, {"error": {"message": "oops", "code": None}})
EMPTY = (200, good(content=""))
FINE = (200, good())


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The back-off, fifty times as fast."""
    for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
        monkeypatch.setattr(f"openai._base_client.{name}", 0.01)
    monkeypatch.setattr(allowance, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(allowance, "LONGEST_PAUSE", 0.02)


def lm_at(faulty, **settings):
    return OpenAILM("m", base_url=faulty.base_url, **{"timeout": 5.0} | settings)


def failure(lm, text="hello"):
    with pytest.raises(base.LMError) as caught:
        lm(ask(text))
    return caught.value


# ---- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [DOWN, "drop", "cut", (429, {"error": {"message": "slow"}})])
def test_an_endpoint_that_has_answered_is_waited_for(faulty, fault):
    end = faulty(FINE, *[fault] * 25, FINE)
    lm = lm_at(end)
    lm(ask())
    completion = lm(ask("else"))
    assert (completion.text, completion.retries) == ("fine", 25)
    assert len(end.seen) == 27


@pytest.mark.parametrize(
    "before", [(), (EMPTY,), ((200, b"{"),)], ids=["nothing", "nothing of use", "damage"]
)
def test_one_that_has_not_is_tried_a_few_times(faulty, before):
    end = faulty(*before, DOWN)
    error = failure(lm_at(end, max_retries=4))
    assert error.systemic
    assert len(end.seen) == 5


def test_the_wait_ends_with_the_patience_and_the_run(faulty, timed):
    end = faulty(FINE, DOWN)
    lm = lm_at(end, patience=0.5)
    lm(ask())
    start = timed()
    error = failure(lm)
    assert 0.5 <= timed() - start < 3
    assert type(error) is base.UnavailableError
    assert error.systemic
    assert error.retries == len(end.seen) - 2
    sent = len(end.seen)
    assert failure(lm, "another").systemic  # what was under way does not wait all over again
    assert len(end.seen) == sent + 1
    lm._allowance._gone -= allowance.RECENT
    assert failure(lm, "later").systemic  # nor does anybody so long, before it answers again
    assert len(end.seen) == sent + 1 + 5


def test_when_one_call_has_given_up_those_that_wait_do_too(faulty, timed):
    end = faulty(FINE, DOWN)
    lm = lm_at(end)
    lm(ask())
    errors = []
    waiting = threading.Thread(target=lambda: errors.append(failure(lm)))
    waiting.start()
    while len(end.seen) < 12:
        time.sleep(0.01)
    lm._allowance.given_up()
    waiting.join(3)
    assert not waiting.is_alive()
    assert errors[0].systemic


def test_patience_0_leaves_the_retries_and_retries_0_leave_nothing(faulty):
    for settings, tries in (({"patience": 0.0}, 5), ({"max_retries": 0}, 1)):
        end = faulty(FINE, DOWN)
        lm = lm_at(end, **settings)
        lm(ask())
        assert failure(lm).retries == tries - 1
        assert len(end.seen) == 1 + tries


def test_what_no_waiting_helps_is_not_waited_for(faulty):
    empty = (429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})
    for fault, tries in ((empty, 5), ((401, {}), 1), ((404, {}), 1), ((400, {}), 1)):
        end = faulty(FINE, fault)
        lm = lm_at(end)
        lm(ask())
        failure(lm)
        assert len(end.seen) == 1 + tries


def test_a_prompt_that_always_ends_in_silence_is_told_from_an_endpoint_that_is_gone(
    faulty, monkeypatch
):
    monkeypatch.setattr(allowance, "MANY", 10)
    for fault in (DOWN, "drop"):
        end = faulty(FINE, *[fault] * 10, FINE)
        lm = lm_at(end)
        lm(ask())
        error = failure(lm, "the prompt that breaks it")
        assert type(error) is base.MalformedResponseError
        assert not error.systemic
        assert "it is this prompt that fails" in str(error)
        assert end.seen[-1]["messages"] == [{"role": "user", "content": "Hello"}]
        assert error.retries == len(end.seen) - 2 == 10
        assert lm(ask("another")).retries == 0


def test_a_gateway_that_gives_up_on_everything_is_gone_as_well(faulty):
    late = (408, {"error": {"message": "gateway"}})
    for steps, systemic in (((FINE, late), True), ((FINE, *[late] * 5, FINE), False)):
        lm = lm_at(faulty(*steps), patience=0.0)
        lm(ask())
        error = failure(lm)
        assert type(error) is base.LMTimeoutError
        assert error.systemic is systemic


def test_that_it_waits_is_said_once_in_an_outage_and_without_the_key(faulty, caplog):
    leaks = (500, {"error": {"message": f"key {KEY} was not served"}})
    end = faulty(FINE, *[leaks] * 12, FINE, *[leaks] * 12, FINE)
    lm = lm_at(end, api_key=KEY)
    for text in ("a", "b", "c"):
        lm(ask(text))
    said = [r.getMessage() for r in caplog.records if r.name == "mipro.lm.openai"]
    assert len(said) == 2
    assert all("gives no reply" in line and "600 s" in line for line in said)
    assert KEY not in caplog.text


# ---- useless replies ----------------------------------------------------------------------------


def test_a_reply_of_no_use_is_asked_for_more_often_where_others_were_good(faulty):
    for fault in (EMPTY, (200, b'{"choi'), (200, {"choices": []})):
        end = faulty(FINE, *[fault] * 12, FINE)
        lm = lm_at(end)
        lm(ask())
        assert lm(ask("else")).retries == 12
    end = faulty(FINE, *[EMPTY] * 6, FINE)
    lm = lm_at(end, max_reasks=5)
    lm(ask())
    assert failure(lm).retries == 5 + 1  # and a word


def test_an_endpoint_that_has_nothing_to_say_to_anybody_any_more_is_gone(faulty):
    refused = (200, good(choices=[{"message": {}, "finish_reason": "content_filter"}]))
    thinks = (200, good(choices=[{"message": {}, "finish_reason": "length"}]))
    for fault, word, systemic in (
        (EMPTY, EMPTY, True),
        (refused, refused, True),
        (refused, FINE, False),
        (refused, thinks, False),  # 16 tokens are not enough for a model that thinks first
    ):
        end = faulty(FINE, *[fault] * 3, word)
        lm = lm_at(end, max_reasks=2)
        lm(ask())
        error = failure(lm, "another")
        assert error.systemic is systemic
        assert end.seen[4]["messages"] == [{"role": "user", "content": "Hello"}]
        assert error.retries == len(end.seen) - 2 == (4 if systemic else 3)


def test_prompts_that_never_work_cost_three_replies_each_and_a_credit(faulty):
    tries = [12 - FREE] * (CREDIT // (12 - FREE)) + [0] * 26
    steps = [[EMPTY] * (1 + FREE + more) + [FINE] for more in tries]  # a word is answered
    end = faulty(FINE, *[step for steps_of_one in steps for step in steps_of_one])
    lm = lm_at(end)
    lm(ask())
    for i in range(30):
        assert not failure(lm, f"prompt {i}").systemic
    asked = [body for body in end.seen[1:] if len(body["messages"]) > 1]
    assert len(asked) == 30 * (1 + FREE) + CREDIT


def reasks(shared: Allowance, useless: int) -> int:
    """The further tries of a call whose first `useless` replies are of no use."""
    call = Call()
    while call.useless < useless and shared.after_useless(call, Fault.USELESS) is not None:
        pass
    if call.useless == useless:
        shared.answered(call)
    return call.useless


def test_the_credit_is_earned_back_by_tries_that_help():
    shared, never = Allowance(4, 12, 600.0), 99
    assert reasks(shared, never) == FREE  # nothing has been good yet
    reasks(shared, 0)
    assert [reasks(shared, never) for _ in range(3)] == [12] * 3  # 10 of the 40 are left
    assert [reasks(shared, 3) for _ in range(2)] == [3] * 2  # each draws one, and earns 10
    assert [reasks(shared, never) for _ in range(4)] == [12, 12, FREE + 8, FREE]
    assert [reasks(shared, 2), reasks(shared, 1)] == [2, 1]  # that the first two help earns one
    assert [reasks(shared, never) for _ in range(2)] == [FREE + 2, FREE]
    assert (CREDIT, EARNED) == (40, 10)


@pytest.mark.parametrize("value", [-1.0, float("nan"), True, 1e9])
def test_a_patience_that_makes_no_sense_is_refused(value):
    with pytest.raises(ConfigError, match="patience"):
        OpenAILM("m", patience=value)


def test_what_may_be_tried_travels_and_what_was_learnt_does_not(faulty):
    end = faulty(FINE, DOWN)
    lm = lm_at(end, patience=7.0, max_reasks=3)
    lm(ask())
    sent = pickle.loads(pickle.dumps(lm))
    assert (sent._allowance.patience, sent._allowance.max_reasks) == (7.0, 3)
    assert failure(sent).retries == 4
