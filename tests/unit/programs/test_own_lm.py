"""A module's own LM: asked instead of the run's, through everything the run's is asked through."""

from __future__ import annotations

import io
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from doubles import QA, CountingLM, EchoLM, echo, examples
from rich.console import Console

import mipro
from mipro import Cached, ChainOfThought, Ledger, Metered, Predict, Price, Program
from mipro.errors import ConfigError
from mipro.lm.base import UnavailableError, through
from mipro.lm.budget import Budget, BudgetExceeded, UnpricedError
from mipro.lm.meter import Entry
from mipro.lm.replies import Once, Replies
from mipro.lm.simulated import SimulatedLM
from mipro.lm.spending import Spending, budgeted
from mipro.terminal import show_result

EXACT = mipro.metrics.exact_match("answer")


class OwnLM(EchoLM):
    """Echoes, under another name than the run's LM."""

    model = "own"


class Judged(Program):
    """`answer` asks the run's LM, `judge` its own."""

    def __init__(self, own) -> None:
        self.answer = Predict("question -> answer")
        self.judge = Predict("answer -> verdict", lm=own)

    def forward(self, question):
        answer = self.answer(question=question).answer
        return mipro.Prediction(answer=answer, verdict=self.judge(answer=answer).verdict)


def test_a_module_asks_its_own_lm_and_the_trace_says_which():
    run_s, own = EchoLM(), OwnLM()
    made = Judged(own)(question="q", lm=run_s)
    assert (run_s.calls, own.calls) == (1, 1)
    assert [(call.module, call.model) for call in made.trace] == [
        ("answer", "echo"),
        ("judge", "own"),
    ]
    assert Judged(own).own_lms() == {"judge": own}


def test_chain_of_thought_takes_one_too():
    own = OwnLM()
    assert ChainOfThought("question -> answer", lm=own).lm is own


def test_what_is_no_lm_is_refused_where_the_module_is_made():
    with pytest.raises(ConfigError, match="lm='gpt' is no language model"):
        Predict("question -> answer", lm="gpt")


def test_its_calls_are_booked_in_the_run_s_ledger_priced_by_its_own_model():
    ledger = Ledger({"echo": Price(1.0, 1.0), "own": Price(100.0, 100.0)})
    own = OwnLM()
    made = Judged(own)(question="q", lm=Metered(EchoLM(), ledger))
    assert ledger["task"].calls == 2
    answer, judge = made.trace
    assert {model: entry.calls for model, entry in ledger.models.items()} == {"echo": 1, "own": 1}
    assert ledger.total.cost == pytest.approx(
        (answer.usage.total + 100 * judge.usage.total) / 1_000_000
    )


def test_a_budget_is_asked_before_its_call():
    own, lm = OwnLM(), EchoLM()
    spending = Spending(Budget(calls=1))
    with pytest.raises(BudgetExceeded):
        Judged(own)(question="q", lm=budgeted(lm, spending))
    assert (lm.calls, own.calls) == (1, 0)


def test_its_replies_are_kept_by_the_run_and_told_apart_from_the_run_s():
    """One request put to both LMs: two calls, each remembered for its LM."""

    class Twice(Program):
        def __init__(self, own) -> None:
            self.first = Predict("question -> answer", "Answer.")
            self.second = Predict("question -> answer", "Answer.", lm=own)

        def forward(self, question):
            self.first(question=question)
            return self.second(question=question)

    lm, own, ledger = EchoLM(), OwnLM(), Ledger()
    kept = Metered(Once(lm, Replies()), ledger)
    for _ in range(3):
        Twice(own)(question="q", lm=kept)
    assert (lm.calls, own.calls) == (1, 1)
    assert ledger["task"] == Entry(
        2, 4, 0, ledger["task"].prompt_tokens, ledger["task"].completion_tokens
    )


def test_the_run_s_cache_serves_it_unless_it_has_its_own(tmp_path):
    own = OwnLM()
    cached = Cached(EchoLM(), tmp_path / "cache")
    for _ in range(2):
        Judged(own)(question="q", lm=cached)
    assert (own.calls, len(cached)) == (1, 2)
    separate = Cached(OwnLM(), tmp_path / "own")
    fresh = Cached(EchoLM(), tmp_path / "fresh")
    for _ in range(2):
        Judged(separate)(question="q", lm=budgeted(fresh, Spending(Budget(calls=2))))
    assert (separate.lm.calls, len(separate), len(fresh)) == (1, 1, 1)


def test_a_bare_lm_has_no_books_to_keep():
    own = OwnLM()
    assert through(EchoLM(), own) is own


def test_a_systemic_failure_of_it_ends_the_run():
    own = CountingLM(lambda request: UnavailableError("own endpoint gone"))
    with pytest.raises(UnavailableError, match="own endpoint gone"):
        mipro.evaluate(Judged(own), examples(3), EXACT, lm=EchoLM())


# --- a nested program with an LM


class Outer(Program):
    """Runs its part with an LM of that part's own."""

    def __init__(self, **given) -> None:
        self.part, self.given = QA(), given

    def forward(self, question):
        return self.part(question=question, **self.given)


def test_a_nested_program_with_an_lm_is_a_part_that_asks_it():
    """Its prompts are the candidate's, its calls in the trace: it is tuned with the rest."""
    lm, own, ledger = EchoLM(), OwnLM(), Ledger()
    made = Outer(lm=own)(
        question="q",
        lm=Metered(lm, ledger),
        candidate={"part.answer": mipro.Prompt("Be brief.")},
    )
    assert [(call.module, call.model) for call in made.trace] == [("part.answer", "own")]
    assert "Be brief." in own.seen[0].messages[0].content
    assert (lm.calls, own.calls, ledger["task"].calls) == (0, 1, 1)


@pytest.mark.parametrize(
    "given", [{"candidate": {"answer": mipro.Prompt("Mine.")}}, {"rollout": 3}]
)
def test_one_that_is_a_run_of_its_own_is_metered_and_limited_all_the_same(given):
    own, ledger = OwnLM(), Ledger()
    Outer(lm=own, **given)(question="q", lm=Metered(EchoLM(), ledger))
    assert ledger["task"].calls == own.calls == 1
    limited = budgeted(EchoLM(), Spending(Budget(calls=1)))
    outer = Outer(lm=own, **given)
    outer(question="q", lm=limited)
    with pytest.raises(BudgetExceeded):
        outer(question="q", lm=limited)
    assert own.calls == 2


def test_one_that_is_run_by_its_method_is_metered_too():
    class Running(Outer):
        def forward(self, question):
            return self.part.run({"question": question}, lm=self.given["lm"]).prediction

    ledger = Ledger()
    assert Running(lm=OwnLM())(question="q", lm=Metered(EchoLM(), ledger)).answer == "q"
    assert ledger["task"].calls == 1


def test_where_dollars_are_limited_one_without_a_price_ends_the_run():
    own, prices = OwnLM(), {"echo": Price(1.0, 1.0)}
    limited = budgeted(EchoLM(), Spending(Budget(usd=1.0), prices))
    with pytest.raises(UnpricedError, match="'own' has no price"):
        mipro.evaluate(Outer(lm=own), examples(3), EXACT, lm=limited)
    assert own.calls == 0


def test_a_program_that_is_no_part_of_the_other_is_a_run_of_its_own_and_metered():
    helper, own, ledger = QA(), OwnLM(), Ledger()

    class Calling(QA):
        def forward(self, question):
            return self.answer(question=helper(question=question, lm=own).answer)

    made = Calling()(question="q", lm=Metered(EchoLM(), ledger))
    assert [call.module for call in made.trace] == ["answer"]
    assert ledger["task"].calls == 2


def test_a_part_s_lm_does_not_stand_in_for_a_module_s_own():
    module_s, part_s = OwnLM(), EchoLM()

    class Holding(Program):
        def __init__(self) -> None:
            self.part = Judged(module_s)

        def forward(self, question):
            return self.part(question=question, lm=part_s)

    Holding()(question="q", lm=CountingLM(lambda request: "never asked"))
    assert (part_s.calls, module_s.calls) == (1, 1)


# --- threads and processes


def test_on_a_thread_of_the_program_s_own():
    own, ledger = OwnLM(), Ledger()

    class Threaded(Judged):
        def forward(self, question):
            with ThreadPoolExecutor(1) as pool:
                job = pool.submit(copy_context().run, lambda: self.judge(answer=question))
                return mipro.Prediction(answer=job.result().verdict)

    assert Threaded(own)(question="q", lm=Metered(EchoLM(), ledger)).answer == "q"
    assert ledger["task"].calls == 1


def scored(program, ledger, replies, **how):
    lm = EchoLM()
    wrapped = lm if ledger.spending is None else budgeted(lm, ledger.spending)
    return mipro.evaluate(
        program, examples(6), EXACT, lm=Metered(Once(wrapped, replies), ledger), **how
    )


def test_in_other_processes_it_is_booked_kept_and_limited_as_here(processes, tmp_path):
    prices = {"echo": Price(1.0, 1.0), "own": Price(50.0, 50.0)}
    here, there = Ledger(prices), Ledger(prices)
    program = Judged(OwnLM())
    local = scored(program, here, Replies())
    replies = Replies()
    replies.keep(tmp_path / "replies.jsonl")
    assert scored(program, there, replies, executor=processes).scores == local.scores
    assert there.to_json() == here.to_json()
    replies.close()
    again = Replies()
    again.keep(tmp_path / "replies.jsonl", resume=True)
    again.close()
    assert sorted({model for model, _ in again.paid}) == ["echo", "own"]
    assert len(again.paid) == 12
    limited = Ledger(prices, spending=Spending(Budget(calls=6), prices))
    with pytest.raises(BudgetExceeded):
        scored(program, limited, Replies(), executor=processes)
    assert limited["task"].calls <= 6


def test_a_pickled_program_holds_the_lm_s_settings_and_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-a-module")
    program = Judged(mipro.OpenAILM("gpt-4o-mini", temperature=0.2))
    payload = pickle.dumps(program)
    assert b"sk-secret" not in payload
    assert pickle.loads(payload).judge.lm.identity == program.judge.lm.identity
    given = Judged(mipro.OpenAILM("gpt-4o-mini", api_key="sk-secret-of-a-module"))
    with pytest.raises(ConfigError, match="key"):
        pickle.dumps(given)


# --- a whole run


def tuned(own, lm=None, **more):
    return mipro.optimize(
        Judged(own),
        examples(12),
        EXACT,
        lm=lm or CountingLM(echo),
        prompt_lm=SimulatedLM(),
        val=examples(20)[12:],
        test=examples(24)[20:],
        **{"trials": 4, "minibatch": 4, "full_every": 2, "threads": 1, "seed": 1, **more},
    )


def test_a_run_s_ledger_and_forecast_price_each_module_by_its_own_model():
    prices = {
        "counting": Price(1.0, 1.0),
        "own": Price(1_000.0, 1_000.0),
        SimulatedLM().model: Price(0.0, 0.0),
    }
    own, lm = OwnLM(), CountingLM(echo)
    result = tuned(own, lm, prices=prices)
    assert result.usage["task"]["calls"] + result.usage["teacher"]["calls"] == own.calls + lm.calls
    paid = sum(entry.get("cost_usd", 0.0) for entry in result.usage.values())
    tokens = {
        lm: sum(sum(len(m.content) for m in r.messages) + len(echo(r)) for r in lm.seen)
        for lm in (own, lm)
    }
    assert paid == pytest.approx((1_000 * tokens[own] + tokens[lm]) / 1_000_000, abs=1e-6)
    cost = result.forecast.total.cost
    assert cost.low * 0.8 <= paid <= cost.high * 1.2


def test_a_result_says_what_each_model_took(tmp_path):
    prices = {"counting": Price(1.0, 1.0), "own": Price(1_000.0, 1_000.0)}
    own, lm = OwnLM(), CountingLM(echo)
    result = tuned(own, lm, prices=prices, run_dir=tmp_path)
    simulated = SimulatedLM().model
    assert sorted(result.models) == ["counting", "own", simulated]
    assert (result.models["own"]["calls"], result.models["counting"]["calls"]) == (
        own.calls,
        lm.calls,
    )
    assert result.models["own"]["cost_usd"] > result.models["counting"]["cost_usd"]
    assert "cost_usd" not in result.models[simulated]
    for name in ("calls", "cached", "prompt_tokens", "completion_tokens"):
        by_role = sum(entry[name] for entry in result.usage.values())
        assert sum(entry[name] for entry in result.models.values()) == by_role
    kept = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert kept["models"] == result.models
    shown = io.StringIO()
    show_result(Console(file=shown, width=160), result, simulated=True)
    (line,) = (x for x in shown.getvalue().splitlines() if re.search(r"[│|] own ", x))
    assert f"{own.calls:,}" in line
    assert f"{result.models['own']['cost_usd']:.4f}" in line


def test_one_model_is_told_of_once():
    result = tuned(EchoLM(), EchoLM(), method="random_search")  # asks no prompt LM
    assert list(result.models) == ["echo"]
    shown = io.StringIO()
    show_result(Console(file=shown, width=160), result, simulated=True)
    assert "by model" not in shown.getvalue()


def test_a_model_of_a_module_without_a_price_is_refused_before_the_first_call():
    own, lm = OwnLM(), CountingLM(echo)
    prices = {"counting": Price(1.0, 1.0), SimulatedLM().model: Price(1.0, 1.0)}
    with pytest.raises(ConfigError, match=r"the model 'own' \(module judge\) has no price"):
        tuned(own, lm, prices=prices, budget=Budget(usd=1.0))
    assert own.calls == lm.calls == 0


def test_without_its_price_a_forecast_gives_no_cost():
    prices = {"counting": Price(1.0, 1.0), SimulatedLM().model: Price(1.0, 1.0)}
    result = tuned(OwnLM(), prices=prices)
    assert result.forecast.phases["minibatches"].cost is None
    assert result.forecast.phases["proposals"].cost is not None


def test_an_estimate_asks_no_module_s_own_lm():
    own = OwnLM()
    mipro.estimate(Judged(own), examples(12), EXACT, lm=EchoLM(), val=examples(5), trials=2)
    assert own.calls == 0


def test_another_lm_of_a_module_is_seen_on_resuming(tmp_path):
    class Other(OwnLM):
        model = "another"

    def dying(request):
        return UnavailableError("gone")

    with pytest.raises(UnavailableError):
        tuned(OwnLM(), CountingLM(dying), run_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"module_lms.* was \"own\", is \"another\""):
        mipro.resume(
            tmp_path,
            Judged(Other()),
            examples(12),
            EXACT,
            lm=CountingLM(echo),
            prompt_lm=SimulatedLM(),
            val=examples(20)[12:],
            test=examples(24)[20:],
        )


def test_replies_in_words_that_two_modules_share_are_two_calls_in_flight():
    """Trials in flight: what each asked is booked to it with the model that was asked."""
    prices = {"counting": Price(1.0, 1.0), "own": Price(7.0, 7.0)}

    def spent(threads, **more):
        lm = CountingLM(lambda request: echo(request))
        result = tuned(
            OwnLM(), lm, prices=prices, threads=threads, trials_in_flight=3, trials=9, **more
        )
        return result.usage, result.phases

    assert spent(1) == spent(6)
