"""Uses of ``cached()`` that a type checker must accept, and wrong ones that it must refuse.

Checked by ``mypy tests/decorators/typed_use.py``, where an ignored error that is none is one.
"""

from __future__ import annotations

from typing import assert_type

from django_callcache.decorators import CachedCoroutine, CachedFunction, cached


@cached(ttl=60)
def figures(campaign_id: int, *, since: str = "") -> dict[str, int]:
    """A function."""
    return {since: campaign_id}


@cached(key="campaign:{campaign_id}")
async def afigures(campaign_id: int) -> str:
    """A coroutine function."""
    return str(campaign_id)


class Office:
    """A class with methods of each kind."""

    @cached(exclude=("self",))
    def staff(self, year: int) -> list[str]:
        """A method."""
        return [str(year)]

    @cached(exclude=("self",))
    async def astaff(self, year: int) -> list[str]:
        """A coroutine method."""
        return [str(year)]

    @cached()
    @staticmethod
    async def afixed(number: int) -> str:
        """A static coroutine method."""
        return str(number)


def right() -> None:
    """Everything keeps its types."""
    assert_type(figures(7, since="x"), dict[str, int])
    assert_type(figures.get(7), dict[str, int] | None)
    assert_type(figures.refresh(7), dict[str, int])
    assert_type(figures.key(7), str)
    assert_type(figures.invalidate(7), bool)
    assert_type(Office().staff(2008), list[str])
    assert_type(Office().staff.refresh(2008), list[str])
    assert_type(Office.staff(Office(), 2008), list[str])
    function: CachedFunction[[int], list[str]] = Office().staff
    coroutine: CachedCoroutine[[int], str] = afigures
    assert_type(function(2008), list[str])
    assert_type(coroutine.key(7), str)


async def aright() -> None:
    """So does what is awaited."""
    assert_type(await afigures(7), str)
    assert_type(await afigures.aget(7), str | None)
    assert_type(await afigures.arefresh(7), str)
    assert_type(await afigures.ainvalidate(7), bool)
    assert_type(await Office().astaff(2008), list[str])
    assert_type(await Office.afixed(1), str)


async def wrong() -> None:
    """Each line is an error."""
    figures("7")  # type: ignore[arg-type]
    figures(7, until="x")  # type: ignore[call-arg]
    figures.key()  # type: ignore[call-arg]
    figures.arefresh(7)  # type: ignore[attr-defined]
    afigures.refresh(7)  # type: ignore[attr-defined]
    (await afigures(7)).bit_length()  # type: ignore[attr-defined]
    Office().staff("2008")  # type: ignore[arg-type]
    Office().staff.invalidate(2008, 1)  # type: ignore[call-arg]
    await Office.afixed()  # type: ignore[call-arg]
    cached(figures)  # type: ignore[call-arg, arg-type]
