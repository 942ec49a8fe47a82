"""What tokens cost, from a public price list kept in the package `genai-prices`: offline, no request is made.

What belongs here: the price of a request, and whether a model has one. What does not: budgets, and which figures a CLI
reports about itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from upkeep.agents.base import Usage
from upkeep.errors import AgentError


def price_source() -> str:
    return f"genai-prices {version('genai-prices')}"


def cost_usd(requests: Iterable[Usage], *, model: str, provider: str) -> float:
    """US dollars for these requests, each priced by itself: some models cost more above a prompt length.

    Raises AgentError (code `agent.no_price`) where the list does not know the model.
    """
    return sum((_request_cost(usage, model, provider) for usage in requests), start=0.0)


def require_price(*, model: str, provider: str, agent: str) -> None:
    """Refuse a model that no budget can be held for. Raises AgentError (code `agent.no_price`)."""
    if not has_price(model=model, provider=provider):
        raise AgentError(
            f"agent {agent}: the price list knows no price for model {model!r} of {provider}, so no budget can be held",
            code="agent.no_price",
            remedy=f"name a listed model in agents.{agent}.model, or set agents.{agent}.unsafe_no_budget: true, "
            "which lets it run whatever it costs",
            model=model,
        )


def has_price(*, model: str, provider: str) -> bool:
    try:
        _request_cost(Usage(engine="", requests=1, input_uncached=1, output=1), model, provider)
    except AgentError:
        return False
    return True


def _request_cost(usage: Usage, model: str, provider: str) -> float:
    tokens = PricedUsage(
        input_tokens=usage.input_uncached + usage.cache_read + usage.cache_write,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output + usage.reasoning,
    )
    try:
        return float(calc_price(tokens, model, provider_id=provider).total_price)
    except LookupError as error:
        raise AgentError(
            f"the price list knows no price for model {model!r} of {provider}",
            code="agent.no_price",
            remedy="name a listed model, or run without a budget",
            model=model,
        ) from error
