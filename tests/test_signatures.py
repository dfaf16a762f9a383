"""Composing signatures: `|` makes new ones, and never changes what it joins."""
from __future__ import annotations

import dataclasses

import pytest

from firexlite import App
from firexlite.errors import InvalidChainArgsException
from firexlite.signatures import Chain, InjectArgs, Signature, as_chain

A, B, C, D = (Signature(name, (), {"own": name}) for name in "abcd")


def services(work) -> list[str]:
    return [signature.service for signature in as_chain(work)]


@pytest.mark.parametrize("chain", [
    A | B | C | D,
    (A | B) | (C | D),
    A | (B | (C | D)),
    (A | (B | C)) | D,
], ids=["one by one", "two halves", "from the end", "mixed"])
def test_chains_are_flat_however_they_were_joined(chain):
    assert services(chain) == ["a", "b", "c", "d"]
    assert chain == Chain((A, B, C, D))
    assert len(chain) == 4 and list(chain) == [A, B, C, D]


def test_one_signature_may_stand_in_a_chain_more_than_once():
    assert services(A | A | B | A) == ["a", "a", "b", "a"]


def test_joining_changes_none_of_the_parts():
    first, second = A | B, C | D

    first | second
    InjectArgs(x=1) | first
    InjectArgs(x=1) | A

    assert (first, second) == (Chain((A, B)), Chain((C, D)))
    assert Signature("a", (), {"own": "a"}) == A


def test_growing_a_chain_in_place_leaves_the_old_one_to_others():
    work = kept = A
    work |= B
    longer = kept_longer = work
    longer |= C

    assert services(kept) == ["a"]
    assert services(kept_longer) == ["a", "b"]
    assert services(longer) == ["a", "b", "c"]


def test_signatures_and_chains_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        A.service = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        (A | B).signatures = ()


@pytest.mark.parametrize("stranger", [1, None, "b", len])
@pytest.mark.parametrize("work", [A, A | B, InjectArgs(x=1)], ids=["signature", "chain", "InjectArgs"])
def test_only_signatures_can_be_joined(work, stranger):
    with pytest.raises(TypeError, match="unsupported operand"):
        work | stranger
    with pytest.raises(TypeError, match="unsupported operand"):
        stranger | work


def test_what_is_neither_signature_nor_chain_is_refused():
    assert as_chain(A) == Chain((A,)) and as_chain(A | B) == A | B

    with pytest.raises(TypeError) as raised:
        as_chain("greet")
    assert str(raised.value) == "'greet' is neither a signature nor a chain; write service.s(...)"


# --- InjectArgs ------------------------------------------------------------------------------------------------------

def test_injected_values_reach_the_head_whose_own_arguments_win():
    chain = InjectArgs(own="injected", x=1) | A | B

    assert chain == Chain((Signature("a", (), {"own": "a", "x": 1}), B))


def test_injecting_into_a_chain_reaches_its_head_only_and_keeps_what_is_given_by_position():
    chain = InjectArgs(x=1) | (Signature("a", (5, 6)) | B)

    assert chain == Chain((Signature("a", (5, 6), {"x": 1}), B))


def test_of_two_injections_the_right_one_wins():
    both = InjectArgs(x=1, y=1) | InjectArgs(y=2, z=2)

    assert both.kwargs == {"x": 1, "y": 2, "z": 2}
    assert services(both | A) == ["a"]
    assert (both | A).signatures[0].kwargs == {"x": 1, "y": 2, "z": 2, "own": "a"}


def test_injections_can_grow_in_place():
    injected = kept = InjectArgs(x=1)
    injected |= InjectArgs(y=2)
    injected |= A

    assert kept.kwargs == {"x": 1}
    assert injected == Chain((Signature("a", (), {"x": 1, "y": 2, "own": "a"}),))


@pytest.mark.parametrize("before", [A, A | B], ids=["signature", "chain"])
def test_injecting_in_the_middle_of_a_chain_is_an_error(before):
    with pytest.raises(InvalidChainArgsException) as raised:
        before | InjectArgs(x=1, y=2) | C

    assert str(raised.value) == ("InjectArgs(x, y) stands in the middle of a chain, where nothing can receive it; "
                                 "put it at the head")


def test_any_name_can_be_injected_but_nothing_without_one():
    assert InjectArgs(self=1, kwargs=2).kwargs == {"self": 1, "kwargs": 2}
    with pytest.raises(TypeError):
        InjectArgs(1)


# --- options ---------------------------------------------------------------------------------------------------------

SETTERS = {"priority": 5, "queue": "gpu", "soft_time_limit": 60, "use_cache": False, "label": "baking"}


@pytest.mark.parametrize("option", SETTERS)
@pytest.mark.parametrize("make", [lambda: Signature("a"), lambda: Signature("a") | Signature("b")], ids=["signature", "chain"])
def test_an_option_is_set_in_place_for_each_signature(option, make):
    work = kept = make()

    assert getattr(work, f"set_{option}")(SETTERS[option]) is kept

    assert [signature.options for signature in as_chain(kept)] == [{option: SETTERS[option]}] * len(as_chain(kept))


def test_composing_carries_options_on_and_leaves_the_parts_with_their_own():
    first, second = Signature("a").set_priority(1), Signature("b") | Signature("c")
    chain = first | second
    injected, grown = InjectArgs(x=1) | chain, chain | Signature("d")

    chain.set_queue("gpu")
    first.set_priority(9)
    second.set_label("late")
    injected.set_priority(3)

    assert [signature.options for signature in chain] == [{"priority": 1, "queue": "gpu"}, {"queue": "gpu"}, {"queue": "gpu"}]
    assert [signature.options for signature in grown] == [{"priority": 1}, {}, {}, {}]
    assert [signature.options for signature in injected] == [{"priority": 3}] * 3
    assert [signature.options for signature in second] == [{"label": "late"}] * 2


def test_options_make_a_difference_between_signatures_but_are_not_shown():
    assert Signature("a").set_priority(1) != Signature("a")
    assert repr(Signature("a").set_priority(1)) == "a()"


def test_a_label_is_that_of_all_or_the_names_of_the_services():
    labelled = Signature("m.a").set_label("baking")

    assert (Signature("m.a").get_label(), labelled.get_label()) == ("m.a", "baking")
    assert (labelled | Signature("m.b")).get_label() == "m.a|m.b"
    assert (labelled | Signature("m.b")).set_label("both").get_label() == "both"


def test_values_are_injected_in_place_where_that_is_asked_for_and_own_arguments_win():
    first, second = Signature("a", (), {"own": 1}), Signature("b")
    chain = kept = first | second

    assert chain.injectArgs(own=2, x=3) is kept
    assert second.injectArgs(y=4) is second

    assert [signature.kwargs for signature in kept] == [{"own": 1, "x": 3}, {}]
    assert (first.kwargs, second.kwargs) == ({"own": 1}, {"y": 4})


def test_a_service_is_not_joined_but_its_signature_is():
    @App().task
    def bake(): ...

    assert services(bake.s() | bake.s()) == [bake.name] * 2
    with pytest.raises(TypeError, match="unsupported operand"):
        bake | bake.s()
    with pytest.raises(TypeError, match="unsupported operand"):
        bake.s() | bake


# --- how they look ---------------------------------------------------------------------------------------------------

def test_they_look_as_they_were_written():
    assert repr(Signature("mod.greet", (1,), {"name": "Li"})) == "mod.greet(1, name='Li')"
    assert repr(Signature("a") | Signature("b")) == "a() | b()"
    assert repr(InjectArgs(x=1, y="z")) == "InjectArgs(x=1, y='z')"
