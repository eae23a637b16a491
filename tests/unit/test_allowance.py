"""What one turn of the loop takes is bounded; who is past the bound goes on in a later turn, in order."""

import asyncio

from ringkeep import allowance
from ringkeep.allowance import TurnAllowance


def test_what_is_past_the_bound_goes_on_in_later_turns() -> None:
    async def main() -> list[list[str]]:
        loop = asyncio.get_running_loop()
        bound = TurnAllowance(loop)
        turns: list[list[str]] = [[]]
        left = dict.fromkeys("abc", 3)  # pieces that each of them has to give, half a turn's worth each

        def note_turn() -> None:
            turns.append([])
            if any(left.values()):
                loop.call_soon(note_turn)

        def take(name: str) -> None:
            while left[name]:
                if bound.spent:
                    bound.wait(lambda: take(name))
                    return
                left[name] -= 1
                turns[-1].append(name)
                bound.spend(allowance.TURN_BYTES // 2)

        loop.call_soon(note_turn)
        for name in left:
            take(name)
        while any(left.values()):
            await asyncio.sleep(0)
        return turns

    turns = [turn for turn in asyncio.run(main()) if turn]
    assert all(len(turn) <= 2 for turn in turns), f"a turn takes no more than its bound: {turns}"
    assert sorted(name for turn in turns for name in turn) == sorted("abc" * 3), "nothing is lost"
    assert ["".join(turn) for turn in turns] == ["aa", "ab", "cc", "bb", "c"], "in turn, by arrival"


def test_a_turn_ends_in_time_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        bound = TurnAllowance(loop)
        bound.spend(1)
        assert not bound.spent
        end = loop.time() + allowance.TURN_S
        while loop.time() < end:
            pass
        assert bound.spent, "small things may cost much"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not bound.spent, "a new turn"

    asyncio.run(main())
