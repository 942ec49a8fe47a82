"""What a gateway is told at its start, and what it says at its end.

What belongs here: the two records that pass between the gateway's process and ours, and what the second means as an
error. What does not: either process (`client.py`, `server.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer

from upkeep.agents.base import Usage
from upkeep.agents.budget import Account
from upkeep.errors import AgentError, BudgetExhausted

ApiName = Literal["responses", "messages", "chat"]
RefusalCode = Literal["path", "token", "request", "hosted_tool", "reference", "budget", "ledger", "breaker"]

MAX_OUTPUT_TOKENS = 32_000
"""The most that one request may generate, whatever the client asks for."""


class GatewaySettings(BaseModel):
    """One gateway: one agent run on one API of one provider.

    `upstream`: the provider's base URL, as its own clients name it: with `/v1` for `responses` and `chat`, without for
    `messages`. `provider`: the price list's name for it. `effort` None: left as the client sends it.
    `limit_usd`: the most that this gateway may spend (None: no limit of its own). `account`: what the money is booked
    to in the database; None: nowhere. Where the model has no price, `priced` is False and no budget is held.
    """

    model_config = ConfigDict(frozen=True)

    agent: str
    api: ApiName
    upstream: str
    api_key: SecretStr | None
    token: SecretStr
    model: str
    effort: str | None = None
    provider: str
    priced: bool = True
    limit_usd: float | None = None
    account: Account | None = None
    max_output_tokens: int = MAX_OUTPUT_TOKENS
    transcript: str
    transcript_bytes: int = 64 << 20
    loopback: bool = False

    @field_serializer("api_key", "token", when_used="json")
    def _revealed(self, value: SecretStr | None) -> str | None:
        """As JSON it goes down a pipe to the gateway and nowhere else."""
        return None if value is None else value.get_secret_value()


class Refusal(BaseModel):
    """A request that was not sent. `count`: how many for this reason; `message`: what the first client was told."""

    model_config = ConfigDict(frozen=True)

    code: RefusalCode
    message: str
    count: int = 1


class GatewayReport(BaseModel):
    """What a gateway did. Tokens are counts, money is US dollars.

    `requests`: answered by the provider, or perhaps. `presumed`: those of them whose figures it never sent, booked at
    the most that they can have cost. `failed`: requests that it refused. `breaker`: the status that made the gateway
    stop sending (401, 402, 403, 429); `last_status`: that of the provider's last answer (0: it did not answer).
    `dropped`: fields that the gateway took out of requests. `lost` True: it died; nothing here is known.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    presumed: int = 0
    failed: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cost_usd: float | None = None
    presumed_usd: float = 0.0
    price_source: str = ""
    refusals: tuple[Refusal, ...] = ()
    breaker: int | None = None
    last_status: int | None = None
    last_error: str = ""
    dropped: tuple[str, ...] = ()
    transcript_cut: bool = False
    lost: bool = False

    def usage(self, *, engine: str, version: str, model: str) -> Usage:
        """Usage in the normal form. What was presumed is part of the cost and of no count of tokens."""
        return Usage(
            engine=engine,
            engine_version=version,
            model=model,
            requests=self.requests,
            input_uncached=self.input_uncached,
            cache_read=self.cache_read,
            cache_write=self.cache_write,
            output=self.output,
            reasoning=self.reasoning,
            cost_priced_usd=None if self.cost_usd is None else self.cost_usd + self.presumed_usd,
            price_source=self.price_source,
            basis="gateway",
            complete=not (self.presumed or self.lost),
        )

    def refused(self, code: RefusalCode) -> Refusal | None:
        return next((refusal for refusal in self.refusals if refusal.code == code), None)

    def failure(self, agent: str) -> AgentError | None:
        """Why the run cannot count as done, whatever the CLI made of it: the budget, the provider's own refusal, or a
        gateway that died. None: nothing of this kind happened."""
        if (refusal := self.refused("budget")) is not None:
            return BudgetExhausted(
                f"agent {agent}: {refusal.message}",
                remedy=f"raise agents.{agent}.budget_usd or budgets: in upkeep.yaml, or wait for the next day or month",
                retryable=False,
            )
        if self.breaker is not None:
            code, remedy, retryable = _BREAKERS[self.breaker]
            words = f"agent {agent}: the provider answered {self.breaker}: {self.last_error}"
            return AgentError(words, code=code, remedy=remedy.format(agent=agent), retryable=retryable)
        if self.refused("ledger") is not None or self.lost:
            return AgentError(
                f"agent {agent}: the gateway could not account for a request and sent none",
                code="agent.gateway",
                remedy="run the same command again; `upkeep doctor` says whether the database can be reached",
                retryable=True,
            )
        return None


_KEY = "check agents.{agent}.api_key: the provider refused it"
_BREAKERS = {
    401: ("agent.authentication", _KEY, False),
    403: ("agent.authentication", _KEY, False),
    402: ("agent.quota", "check the billing of the provider's account", False),
    429: ("agent.rate_limited", "try again later, or let fewer agents run at once", True),
}


class Ready(BaseModel):
    """The gateway's first words: it listens. `port`: of loopback, where that was asked for."""

    model_config = ConfigDict(frozen=True)

    listening: Literal[True] = Field(default=True)
    port: int | None = None
