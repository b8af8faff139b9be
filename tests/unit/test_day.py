"""The demo day: it adds up, it is the same for the same seed, and what is odd about it is odd in the way it says."""

from __future__ import annotations

from collections import Counter, defaultdict

from inventorybot.domain.events import Movement
from inventorybot.domain.forecast import Forecast
from inventorybot.domain.outlook import Outlook
from inventorybot.errors import BadEvent
from inventorybot.wire.codec import Message, Record, TimeLimits, read_movement
from services.local.day import DOCK, Day, made_up_forecasts, make_day

NOW = 1_795_200_000_000


def read(message: Message) -> Movement | BadEvent:
    record = Record(message.topic, 0, 0, message.key, message.value, message.headers, NOW)
    try:
        return read_movement(record, TimeLimits())[0]
    except BadEvent as refused:
        return refused


def events(day: Day) -> list[Movement]:
    return [found for message in day.messages if isinstance(found := read(message), Movement)]


def test_the_same_seed_makes_the_same_day() -> None:
    assert make_day(7, NOW, 600) == make_day(7, NOW, 600)
    assert make_day(7, NOW, 600) != make_day(8, NOW, 600)


def test_exactly_the_poison_is_refused_and_each_for_a_reason_of_its_own() -> None:
    day = make_day(7, NOW, 600)
    refused = [found for message in day.messages if isinstance(found := read(message), BadEvent)]
    assert len(refused) == day.poison == 5
    assert len({bad.code for bad in refused}) == 5


def test_what_is_said_twice_is_said_in_the_same_words() -> None:
    day = make_day(7, NOW, 600)
    told = events(day)
    times = Counter(event.event_id for event in told)
    assert sum(count - 1 for count in times.values()) == day.duplicates > 0
    assert len(set(told)) == len(times)


def test_told_once_and_in_order_the_day_never_takes_stock_that_is_not_there() -> None:
    on_hand: dict[tuple[str, str], int] = defaultdict(int)
    once = {event.event_id: event for event in events(make_day(7, NOW, 1500))}
    for event in sorted(once.values(), key=lambda event: (event.occurred_at, event.event_id)):
        slot = (event.bin, event.sku)
        on_hand[slot] = event.quantity if event.is_count else on_hand[slot] + event.delta
        assert on_hand[slot] >= 0, event
        if arrival := event.arrival():
            on_hand[(arrival.bin, arrival.sku)] += arrival.quantity
    assert not any(units for (bin_id, _), units in on_hand.items() if bin_id == DOCK), "the dock is cleared"


def test_no_event_but_the_poison_lies_in_the_future() -> None:
    assert all(event.occurred_at <= NOW for event in events(make_day(7, NOW, 600)))


def test_by_the_made_up_forecast_some_of_what_is_left_runs_out_within_a_week_and_most_of_it_does_not() -> None:
    day, on_hand = make_day(7, NOW, 3000), Counter[str]()
    levels: dict[tuple[str, str], int] = defaultdict(int)
    once = {event.event_id: event for event in events(day)}
    for event in sorted(once.values(), key=lambda event: (event.occurred_at, event.event_id)):
        slot = (event.bin, event.sku)
        levels[slot] = event.quantity if event.is_count else levels[slot] + event.delta
        if arrival := event.arrival():
            levels[(arrival.bin, arrival.sku)] += arrival.quantity
    for (_, sku), units in levels.items():
        on_hand[sku] += units
    forecasts: dict[str, list[Forecast]] = defaultdict(list)
    for forecast in made_up_forecasts(day, NOW):
        forecast.check()
        forecasts[forecast.sku].append(forecast)
    days = {sku: Outlook.of(told).days_of_cover(on_hand[sku], NOW) for sku, told in forecasts.items()}
    short = [sku for sku, cover in days.items() if cover <= 7]
    assert 1 <= len(short) <= len(days) / 3
